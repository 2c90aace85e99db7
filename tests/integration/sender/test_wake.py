"""How the sender notices that another connection has committed."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.sender.models import Capture
from sockstream.sender.wake import Waker, waker
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


def settled(site: str) -> Waker:
    watch = waker(site, interval=0.02)
    assert watch.woken(), "what was captured before the start has to be looked for"
    Capture.objects.using(site).all().delete()
    assert not watch.woken()
    return watch


def test_every_commit_is_noticed(site: str, writer: ThreadPoolExecutor) -> None:
    watch = settled(site)
    for number in range(100):
        writer.submit(write, site, f"tag {number}").result()
        noticed(watch)
        Capture.objects.using(site).all().delete()


def test_a_commit_is_noticed_within_milliseconds(site: str, writer: ThreadPoolExecutor) -> None:
    if connections[site].vendor == "mysql":
        pytest.skip("MySQL tells nobody of a commit: the sender looks five times a second")
    watch = settled(site)
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
    watch = settled("site_pg")
    writer.submit(write, "site_pg", "one").result()
    # The notification arrives with the answer to this, and no file becomes readable for it.
    assert Capture.objects.using("site_pg").count() == 1
    assert watch.woken()


def test_waiting_ends_at_once_when_the_commit_comes_later(
    site: str, writer: ThreadPoolExecutor
) -> None:
    watch = settled(site)
    begun = threading.Event()

    def write_later() -> None:
        begun.wait()
        write(site, "later")

    written = writer.submit(write_later)
    begun.set()
    noticed(watch)
    written.result()
