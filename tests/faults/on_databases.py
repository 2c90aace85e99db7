"""Faults of central's database, and of the site's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from django.db import connections

from tests.faults.fault import Lane, fault
from tests.faults.on_processes import killed
from tests.faults.rig import (
    LOCKED_OUT,
    Rig,
    can_give_powers_up,
    may_overrule_modes,
    options_of,
)

# An end that starts meanwhile says so and ends; it is for a supervisor to start it again.
UNREACHABLE = frozenset({"cannot be used"})
TABLES = ("polls_question", "polls_choice", "zoo_required", "sockstream_receiver_offset")
READ_ONLY = 0o444
LOCKED_WITHIN_MS = 1_000


@fault(Lane.DATABASE, vendor="postgresql", excuses=UNREACHABLE)
@contextmanager
def connections_of_central_terminated(rig: Rig, draw: Random) -> Iterator[None]:
    with session(rig.pair.central) as control:
        terminate(control, "receiver")
    yield


@fault(Lane.DATABASE, vendor="postgresql", excuses=UNREACHABLE | {LOCKED_OUT})
@contextmanager
def connections_of_the_site_terminated(rig: Rig, draw: Random) -> Iterator[None]:
    with session(rig.pair.site) as control:
        terminate(control, "sender")
    yield


@fault(Lane.DATABASE, longest=4.0, vendor="postgresql")
@contextmanager
def table_locked(rig: Rig, draw: Random) -> Iterator[None]:
    """Readers go on, writers wait."""
    with locking(rig, f"LOCK TABLE {draw.choice(TABLES)} IN EXCLUSIVE MODE"):
        yield


@fault(Lane.DATABASE, longest=4.0, vendor="postgresql")
@contextmanager
def offset_locked(rig: Rig, draw: Random) -> Iterator[None]:
    with locking(rig, "SELECT seq FROM sockstream_receiver_offset FOR UPDATE"):
        yield


@fault(Lane.DATABASE, longest=3.0, vendor="postgresql", excuses=UNREACHABLE)
@contextmanager
def central_read_only(rig: Rig, draw: Random) -> Iterator[None]:
    """As after a fail-over of the database to a standby that is promoted later."""
    name = connections[rig.pair.central].settings_dict["NAME"]
    setting = f'ALTER DATABASE "{name}"'
    with session(rig.pair.central) as control:
        control.execute(f"{setting} SET default_transaction_read_only = on")
        terminate(control, "receiver")
        try:
            yield
        finally:
            control.execute(f"{setting} RESET default_transaction_read_only")


@fault(Lane.DATABASE, longest=1.0, vendor="postgresql", excuses=UNREACHABLE)
@contextmanager
def no_connections_left(rig: Rig, draw: Random) -> Iterator[None]:
    with session(rig.pair.central) as control, ExitStack() as held:
        take_all(held, rig.pair.central)
        terminate(control, "receiver")
        take_all(held, rig.pair.central)
        yield


@fault(Lane.DATABASE, longest=3.0, vendor="sqlite", excuses=UNREACHABLE)
@contextmanager
def another_writer(rig: Rig, draw: Random) -> Iterator[None]:
    path = connections[rig.pair.central].settings_dict["NAME"]
    within = LOCKED_WITHIN_MS / 1_000
    with closing(sqlite3.connect(path, timeout=within, isolation_level=None)) as other:
        with suppress(sqlite3.OperationalError):
            other.execute("BEGIN IMMEDIATE")
        yield
        if other.in_transaction:
            other.execute("ROLLBACK")


@fault(Lane.DATABASE, Lane.RECEIVER, longest=3.0, vendor="sqlite", excuses=UNREACHABLE)
@contextmanager
def files_read_only(rig: Rig, draw: Random) -> Iterator[None]:
    """What opened them before may still write, so the receiver begins anew."""
    path = Path(connections[rig.pair.central].settings_dict["NAME"]).resolve()
    with ExitStack() as stack:
        for file in path.parent.glob(f"{path.name}*"):
            stack.callback(file.chmod, file.stat().st_mode)
            file.chmod(READ_ONLY)
        with killed(rig, rig.active):
            pass
        yield


@contextmanager
def locking(rig: Rig, statement: str) -> Iterator[None]:
    """Hold the locks of a statement, but not if a receiver that is stopped has them."""
    with session(rig.pair.central) as other, other.transaction():
        other.execute(f"SET LOCAL lock_timeout = '{LOCKED_WITHIN_MS}ms'")
        with suppress(psycopg.errors.LockNotAvailable), other.transaction():
            other.execute(statement)
        yield


@contextmanager
def session(alias: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of nobody's in the database, in autocommit."""
    options = {**options_of(alias), "application_name": "nemesis", "autocommit": True}
    with closing(psycopg.connect(**options)) as connection:
        yield connection


def terminate(control: psycopg.Connection[Any], application: str) -> None:
    """End every session of an end."""
    control.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
        [application],
    )


def take_all(held: ExitStack, alias: str) -> None:
    """Take every connection that the server has left."""
    while True:
        try:
            held.enter_context(session(alias))
        except psycopg.OperationalError:
            return


def left_out(vendor: str) -> dict[str, str]:
    """The names of faults that this machine cannot bring about, with the reason."""
    if vendor == "sqlite" and may_overrule_modes() and not can_give_powers_up():
        return {"files read only": "root writes to every file, and there is no setpriv here"}
    return {}
