"""Faults of what central's database runs on, and of what lies between central and it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from django.db import connections

from tests.faults.fault import Lane, fault
from tests.faults.on_databases import UNREACHABLE
from tests.faults.rig import Rig


@fault(Lane.DATABASE, shortest=0.5, longest=4.0, excuses=UNREACHABLE)
@contextmanager
def disk_full(rig: Rig, draw: Random) -> Iterator[None]:
    disk = rig.machine.disk
    assert disk is not None
    disk.fill()
    try:
        yield
    finally:
        disk.make_room()


@fault(
    *(Lane.DATABASE, Lane.RECEIVER),
    shortest=0.1,
    longest=3.0,
    vendor="postgresql",
    excuses=UNREACHABLE,
)
@contextmanager
def server_killed(rig: Rig, draw: Random) -> Iterator[None]:
    """SIGKILL to all of the server at once; what it finds when it starts, it makes good."""
    server = rig.machine.server
    assert server is not None
    server.crash()
    try:
        yield
    finally:
        server.start_again()
        connections[rig.pair.central].close()


@fault(Lane.DATABASE, shortest=0.5, longest=3.0, vendor="postgresql", excuses=UNREACHABLE)
@contextmanager
def answers_to_commit_swallowed(rig: Rig, draw: Random) -> Iterator[None]:
    """Central does not know whether what it has just written is there."""
    assert rig.answers is not None
    rig.answers.swallow()
    yield
    rig.answers.stop()
