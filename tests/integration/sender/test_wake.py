"""How the sender notices that another connection has committed."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.sender.models import Capture
from sockstream.sender.oplog.wake import Waker, waker
from tests.databases import Databases

DEADLINE = 5.0


@pytest.fixture
def writer() -> Iterator[ThreadPoolExecutor]:
    """A thread of its own, so that it writes through connections of its own."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
        pool.submit(connections.close_all).result()


def write(site: str, name: str) -> float:
    Tag.objects.using(site).create(name=name)
    return time.perf_counter()


def noticed(watch: Waker) -> float:
    """Wait as the service does. Returns the time when it noticed."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if watch.woken():
            return time.perf_counter()
        reading = [fd for fd in [watch.fileno()] if fd is not None]
        select.select(reading, [], [], min(watch.interval or DEADLINE, end - time.monotonic()))
    raise AssertionError("the commit was not noticed")


@pytest.fixture
def watch(site: str) -> Iterator[Waker]:
    yield from settled(site)


def settled(site: str) -> Iterator[Waker]:
    with closing(waker(site, interval=0.02)) as watch:
        if connections[site].vendor != "mysql":
            assert watch.woken(), "what was captured before the start has to be looked for"
        assert not watch.woken()
        yield watch


def test_every_commit_is_noticed(site: str, watch: Waker, writer: ThreadPoolExecutor) -> None:
    rounds = 5 if connections[site].vendor == "mysql" else 100
    for number in range(rounds):
        writer.submit(write, site, f"tag {number}").result()
        noticed(watch)
        Capture.objects.using(site).all().delete()


def test_a_commit_is_noticed_within_milliseconds(
    site: str, watch: Waker, writer: ThreadPoolExecutor
) -> None:
    if connections[site].vendor == "mysql":
        pytest.skip("MySQL tells nobody of a commit: the sender looks five times a second")
    delays = []
    for number in range(50):
        written = writer.submit(write, site, f"tag {number}")
        seen = noticed(watch)
        delays.append(seen - written.result())
        Capture.objects.using(site).all().delete()
    assert sorted(delays)[len(delays) // 2] < 0.02


def test_a_commit_in_the_middle_of_our_own_work_is_not_missed(
    databases: Databases, writer: ThreadPoolExecutor
) -> None:
    databases.clean("site_pg")
    for watch in settled("site_pg"):
        writer.submit(write, "site_pg", "one").result()
        # The notification comes with the answer to this, and no file becomes readable for it.
        assert Capture.objects.using("site_pg").count() == 1
        assert watch.woken()


def test_where_nobody_is_notified_it_looks_and_says_so(
    databases: Databases, writer: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    databases.clean("site_pg")
    for watch in settled("site_pg"):
        # What a pooler does by transaction: the LISTEN is another connection's.
        with connections["site_pg"].cursor() as cursor:
            cursor.execute("UNLISTEN *")
        for number in range(3):
            writer.submit(write, "site_pg", f"tag {number}").result()
            noticed(watch)
            Capture.objects.using("site_pg").all().delete()
    assert "looking every 1 s" in caplog.text


def test_our_own_commits_do_not_wake_us_on_sqlite(databases: Databases) -> None:
    databases.clean("site_sqlite")
    for watch in settled("site_sqlite"):
        write("site_sqlite", "ours")
        assert not watch.woken()


def test_without_inotify_it_looks(
    databases: Databases, writer: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    databases.clean("site_sqlite")
    for watch in settled("site_sqlite"):
        assert watch.fileno() is None
        assert watch.interval is not None
        assert watch.interval <= 0.02
        writer.submit(write, "site_sqlite", "one").result()
        noticed(watch)


def test_waiting_ends_when_the_commit_comes_later(
    site: str, watch: Waker, writer: ThreadPoolExecutor
) -> None:
    begun = threading.Event()

    def write_later() -> None:
        begun.wait()
        write(site, "later")

    written = writer.submit(write_later)
    begun.set()
    noticed(watch)
    written.result()
