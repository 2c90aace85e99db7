"""How the sender notices that another connection has committed."""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.sender import capture
from sockstream.sender.capture.dialects.plpgsql import CHANNEL, SLEEPS
from sockstream.sender.models import Capture
from sockstream.sender.oplog.floor import Floor
from sockstream.sender.oplog.wake import Notified, Waker, waker
from sockstream.sender.oplog.writers import writers
from tests.databases import Databases
from tests.integration.pair.ways import plain_connection

DEADLINE = 5.0
INSERT = "INSERT INTO polls_tag VALUES (gen_random_uuid(), gen_random_uuid())"


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
    with closing(waker(site, 0.02, Floor(site))) as watch:
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


@pytest.fixture
def alone(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> str:
    """A site of PostgreSQL where a commit that nobody tells of is noticed too late."""
    databases.clean("site_pg")
    monkeypatch.setattr("sockstream.sender.oplog.wake._LOOK_WHERE_NOTIFIED", 60.0)
    return "site_pg"


@pytest.fixture
def other(alone: str) -> Iterator[Any]:
    """A connection of another program, in autocommit."""
    with closing(plain_connection(alone)) as connection:
        yield connection


def is_asleep(other: Any) -> bool:
    """Whether a commit would notify."""
    taken = f"pg_try_advisory_lock({SLEEPS}) AND pg_advisory_unlock({SLEEPS})"
    return not other.execute(f"SELECT {taken}").fetchone()[0]


def keep_awake(watch: Waker, other: Any) -> None:
    """Commits so close to each other that nobody has to tell of them."""
    while is_asleep(other):
        other.execute(INSERT)
        noticed(watch)
        Capture.objects.using("site_pg").all().delete()


def let_sleep(watch: Waker, other: Any) -> None:
    end = time.monotonic() + DEADLINE
    while not is_asleep(other):
        assert time.monotonic() < end
        time.sleep(0.01)
        assert not watch.woken()


def test_commits_one_upon_the_other_notify_nobody(alone: str, other: Any) -> None:
    for watch in settled(alone):
        keep_awake(watch, other)
        other.execute(f"LISTEN {CHANNEL}")
        for _ in range(20):
            other.execute(INSERT)
            noticed(watch)
            Capture.objects.using(alone).all().delete()
        assert list(other.notifies(timeout=0.05)) == []
        let_sleep(watch, other)
        other.execute(INSERT)
        assert len(list(other.notifies(timeout=5, stop_after=1))) == 1
        noticed(watch)


@pytest.mark.parametrize("prepared", [False, True], ids=["commits", "was prepared"])
def test_who_wrote_before_we_slept_and_commits_after_it(
    alone: str, other: Any, *, prepared: bool
) -> None:
    for watch in settled(alone):
        keep_awake(watch, other)
        other.execute("BEGIN")
        other.execute(INSERT)
        if prepared:
            other.execute("PREPARE TRANSACTION 'late'")
        with closing(plain_connection(alone)) as another:
            let_sleep(watch, another)
            for _ in range(5):
                assert not watch.woken()
                time.sleep(watch.interval or 0.0)
        other.execute("COMMIT PREPARED 'late'" if prepared else "COMMIT")
        noticed(watch)


def test_who_writes_right_before_we_sleep(
    alone: str, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Notified._ask

    def write_first(self: Notified, sql: str) -> bool:
        other.execute("BEGIN")
        other.execute(INSERT)
        return ask(self, sql)

    for watch in settled(alone):
        keep_awake(watch, other)
        with monkeypatch.context() as patched, closing(plain_connection(alone)) as another:
            patched.setattr(Notified, "_ask", write_first)
            let_sleep(watch, another)
            assert not watch.woken()
        other.execute("COMMIT")
        noticed(watch)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_who_commits_right_before_we_ask_who_has_not(
    alone: str, other: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """And after we have slept, or looked."""
    asked = 0

    def commit_first(using: str) -> dict[str, str]:
        nonlocal asked
        asked += 1
        if asked == at:
            other.execute("COMMIT")
        return writers(using)

    for watch in settled(alone):
        keep_awake(watch, other)
        other.execute("BEGIN")
        other.execute(INSERT)
        monkeypatch.setattr("sockstream.sender.oplog.wake.writers", commit_first)
        noticed(watch)
        assert asked == at


def test_no_commit_is_missed_while_we_fall_asleep(alone: str, other: Any) -> None:
    """Transactions that are longer than it takes to fall asleep, or shorter."""
    chosen = random.Random(7)
    for watch in settled(alone):
        for _ in range(40):
            keep_awake(watch, other)
            other.execute("BEGIN")
            other.execute(INSERT)
            end = time.monotonic() + chosen.random() * 0.12
            while time.monotonic() < end:
                assert not watch.woken()
                time.sleep(0.001)
            other.execute("COMMIT")
            noticed(watch)
            Capture.objects.using(alone).all().delete()


@pytest.mark.parametrize("kind", ["lock_shared", "lock"], ids=["ours", "another's"])
def test_a_lock_that_outlives_its_process_silences_nobody(
    alone: str, other: Any, kind: str
) -> None:
    """Behind a pooler a connection goes on after its client."""
    with closing(plain_connection(alone)) as left:
        left.execute(f"SELECT pg_advisory_{kind}({SLEEPS})")
        for watch in settled(alone):
            for _ in range(5):
                other.execute(INSERT)
                noticed(watch)
                Capture.objects.using(alone).all().delete()
                time.sleep(0.1)


def test_where_ids_begin_anew_what_is_captured_is_found(alone: str, other: Any) -> None:
    """Though it is below the floor, and nobody tells of it."""
    floor = Floor(alone)
    floor.id = 1_000_000
    watch = Notified(alone, floor)
    with closing(watch):
        while watch.interval != 60.0:
            watch.woken()
            time.sleep(0.01)
        other.execute("ALTER TABLE sockstream_sender_capture DISABLE TRIGGER USER")
        try:
            other.execute(INSERT)
        finally:
            capture.install(alone)
        assert not watch.woken()
        watch._look_at = 1.0
        assert watch.woken()
        assert floor.id == 0
