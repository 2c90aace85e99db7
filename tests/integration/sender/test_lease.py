"""One oplog_send a database."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from sockstream.exceptions import SockstreamError
from sockstream.sender.oplog.lease import is_held, lease
from tests.databases import Databases
from tests.ends import wait_until

DEADLINE = 10.0
HOLDER = """
import sys, django
django.setup()
from sockstream.sender.oplog.lease import lease
with lease({alias!r}):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_holding(alias: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(alias=alias)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_sender_is_told_so(site: str) -> None:
    with (
        another_process_holding(site),
        pytest.raises(SockstreamError, match="Another oplog_send runs"),
        lease(site),
    ):
        pass


@pytest.mark.parametrize("alias", ["site_pg", "site_maria"])
def test_the_connection_that_holds_the_place_is_named(alias: str, databases: Databases) -> None:
    """Its process may be gone, and the server not know: what is said ends it."""
    databases.clean(alias)
    with another_process_holding(alias):
        with pytest.raises(SockstreamError) as taken, lease(alias):
            pass
        assert re.search(r"connection \d+ from (127\.0\.0\.1|localhost)", taken.value.mend)
        with connections[alias].cursor() as cursor:
            cursor.execute(taken.value.mend.partition("end it: ")[2])
        wait_until(lambda: not is_held(alias), "the place is free")


def test_the_status_sees_the_holder_and_does_not_disturb_it(site: str) -> None:
    assert not is_held(site)
    with another_process_holding(site):
        assert is_held(site)
        assert is_held(site)
    assert not is_held(site)


def test_asking_does_not_keep_a_sender_out(site: str) -> None:
    assert not is_held(site)
    with another_process_holding(site):
        pass


def test_whoever_has_ended_lets_the_next_one_in(site: str) -> None:
    with lease(site):
        pass
    with another_process_holding(site):
        assert is_held(site)


def test_a_killed_holder_leaves_nothing_behind(site: str) -> None:
    with another_process_holding(site) as holder:
        holder.kill()
        holder.wait()
        # A server drops the lock when it has noticed that the connection is gone.
        end = time.monotonic() + DEADLINE
        while is_held(site):
            assert time.monotonic() < end
        with lease(site):
            pass
