"""One oplog_send a database, and whose place it is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import F

from sockstream.exceptions import SockstreamError
from sockstream.sender.models import Lease as Row
from sockstream.sender.oplog import holders, lease
from sockstream.sender.oplog.lease import SENDING, SNAPSHOT, Lease, holder, is_held, last_end

HOLDER = """
import sys, django
django.setup()
from sockstream.sender.oplog.lease import Lease
with Lease({alias!r}):
    print("held", flush=True)
    sys.stdin.read()
"""
ELSEWHERE = "another machine"

on_servers = pytest.mark.parametrize("site", ["site_pg", "site_maria"], indirect=True)


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


def change(site: str, **values: Any) -> None:
    assert Row.objects.using(site).update(**values) == 1


def enter(site: str) -> None:
    with Lease(site):
        pass


def test_a_second_sender_is_told_whose_place_it_is(site: str) -> None:
    with another_process_holding(site) as other:
        with pytest.raises(SockstreamError) as taken:
            enter(site)
        assert taken.value.code == "sender-running"
        assert re.search(
            rf"Another oplog_send runs .*process {other.pid} on \S+, since \d{{4}}-",
            str(taken.value),
        )
        found = holder(site)
        assert found is not None
        assert found.name.pid == other.pid


def test_a_second_one_of_the_same_process_is_kept_out(site: str) -> None:
    with Lease(site):
        with pytest.raises(SockstreamError, match="Another oplog_send runs"):
            enter(site)
        assert is_held(site)
        with Lease(site, SNAPSHOT):
            assert is_held(site, SNAPSHOT)
    enter(site)


def test_asking_does_not_disturb_the_holder(site: str) -> None:
    assert not is_held(site)
    with another_process_holding(site):
        assert is_held(site)
        assert is_held(site)
        with pytest.raises(SockstreamError):
            enter(site)
        assert is_held(site)
    assert not is_held(site)


def test_a_killed_holder_leaves_nothing_behind(site: str) -> None:
    with another_process_holding(site) as other:
        other.kill()
        other.wait()
        assert not is_held(site)
        with Lease(site):
            assert is_held(site)


def test_a_number_that_was_given_to_another_process_is_not_the_holder(site: str) -> None:
    """A container gives the same numbers again at each start."""
    with another_process_holding(site) as other:
        other.kill()
        other.wait()
        change(site, pid=1)
        assert not is_held(site)


@on_servers
def test_a_holder_on_another_machine_is_believed_while_it_renews(site: str) -> None:
    with another_process_holding(site):
        change(site, machine=ELSEWHERE)
        assert is_held(site)
        with pytest.raises(SockstreamError, match="Another oplog_send runs"):
            enter(site)


@on_servers
@pytest.mark.parametrize("sign", [-1, 1], ids=["silent", "the server's clock was set back"])
def test_a_machine_that_is_gone_loses_its_place(site: str, sign: int) -> None:
    with another_process_holding(site) as other:
        other.kill()
        other.wait()
    silence = timedelta(seconds=sign * (lease.STALE_AFTER + 1))
    change(site, machine=ELSEWHERE, renewed_at=F("renewed_at") + silence)
    assert not is_held(site)
    enter(site)


@on_servers
def test_whoever_was_taken_for_dead_finds_out(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.0)
    stale = timedelta(seconds=lease.STALE_AFTER + 1)
    with Lease(site) as paused:
        change(site, machine=ELSEWHERE, renewed_at=F("renewed_at") - stale)
        with another_process_holding(site):
            with pytest.raises(SockstreamError, match="Another oplog_send runs"):
                paused.keep()
            assert is_held(site)


@on_servers
def test_the_place_is_renewed(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.0)
    with Lease(site) as own:
        before = Row.objects.using(site).get().renewed_at
        own.keep()
        assert Row.objects.using(site).get().renewed_at > before


@on_servers
def test_a_row_that_somebody_removed_is_made_again(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.0)
    with Lease(site) as own:
        Row.objects.using(site).all().delete()
        own.keep()
        assert is_held(site)


def test_the_process_that_lost_its_connection_takes_its_place_again(site: str) -> None:
    with Lease(site):
        change(site, token="it could not be told")
    assert not is_held(site)
    with Lease(site):
        assert is_held(site)


@pytest.mark.parametrize("site", ["site_pg"], indirect=True)
def test_no_session_is_needed(site: str) -> None:
    """A pooler may give each transaction another session, and keep that when the process ends."""
    with Lease(site):
        connections[site].close()
        with pytest.raises(SockstreamError):
            enter(site)
    enter(site)


def test_what_ended_it_is_known(site: str) -> None:
    assert last_end(site, SENDING) is None
    enter(site)
    assert last_end(site, SENDING) == ""
    with pytest.raises(ZeroDivisionError), Lease(site):
        raise ZeroDivisionError("the reason")
    assert last_end(site, SENDING) == "the reason"
    with another_process_holding(site) as other:
        other.kill()
        other.wait()
    assert re.fullmatch(rf"process {other.pid} on .* was killed", last_end(site, SENDING) or "")


def test_other_machines_are_not_judged() -> None:
    own = holders.this_process()
    assert not holders.is_gone(own)
    assert not holders.is_gone(holders.Name(own.host, ELSEWHERE, 2**22 + 1, "1"))
    assert holders.is_gone(holders.Name(own.host, own.machine, 2**22 + 1, "1"))
    assert holders.is_gone(holders.Name(own.host, own.machine, own.pid, "1"))
