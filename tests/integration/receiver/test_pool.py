"""The threads that use central's database."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from django.db import Error as DatabaseError
from django.db import connections, transaction

from sockstream.receiver.streams.pool import Pool
from tests.databases import Databases
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}

THREADS_OF_ONE_APPLIER = 3


@pytest.fixture
def pool(central: str) -> Iterator[Pool]:
    running = Pool(central, 1)
    yield running
    running.close()


@pytest.mark.parametrize("source", ["busy", "other"])
def test_a_source_whose_turns_take_long_leaves_a_thread_to_the_others(source: str) -> None:
    """A turn cannot be stopped; eight streams with one at work each would be all that is done."""
    pool, go_on = Pool("central_pg", 4), threading.Event()
    done: list[str] = []
    heard = threading.Event()

    def hear() -> None:
        done.append(source)
        heard.set()

    try:
        for _ in range(8):
            pool.take_turn("busy", lambda: done.append("busy") if go_on.wait(20) else None)
        pool.take_turn(source, hear)
        assert heard.wait(2.0) == (source == "other")
        go_on.set()
        assert heard.wait(20)
    finally:
        go_on.set()
        pool.close()
    assert sorted(done) == sorted([source, *["busy"] * 8])


def make_read_only(using: str) -> None:
    """This thread's session, as one that began while the whole database was so."""
    with connections[using].cursor() as cursor:
        cursor.execute(READ_ONLY[connections[using].vendor])


def test_a_session_that_cannot_write_is_not_used_again(pool: Pool, central: str) -> None:
    def write() -> None:
        with transaction.atomic(using=central):
            Slot.objects.using(central).create()

    def write_read_only() -> None:
        make_read_only(central)
        write()

    with pytest.raises(DatabaseError, match=r"(?i)read[- ]?only"):
        pool.call(write_read_only).result(20)
    # More often than there are threads.
    for _ in range(10):
        pool.call(write).result(20)
    assert Slot.objects.using(central).count() == 10


def test_a_stream_goes_on_after_it(databases: Databases, trust: Trust) -> None:
    databases.clean("central_pg")
    everybody = threading.Barrier(THREADS_OF_ONE_APPLIER)

    def make_each_read_only() -> None:
        make_read_only("central_pg")
        everybody.wait(20)

    with (
        # No look at the sources finds the sessions first.
        Central("central_pg", trust, APPLIERS=1, RECHECK=60.0) as running,
        connected(running.site()) as site,
    ):
        site.oplog.add(slots(1))
        site.send_all()
        pool = running.server.holders.pool
        for future in [pool.call(make_each_read_only) for _ in range(THREADS_OF_ONE_APPLIER)]:
            future.result(20)
        site.oplog.add(slots(3))
        site.send_all()
        assert running.said("the database failed, trying again")
    assert Slot.objects.using("central_pg").count() == 4


def test_a_call_does_not_wait_for_the_turns(databases: Databases) -> None:
    """A hello is answered while as many transactions are at work as there may be."""
    databases.clean("central_pg")
    pool, go_on = Pool("central_pg", 2), threading.Event()
    at_work = threading.Semaphore(0)

    def turn() -> None:
        at_work.release()
        go_on.wait(20)

    try:
        for number in range(5):
            pool.take_turn(f"site-{number}", turn)
        assert [at_work.acquire(timeout=20) for _ in range(2)] == [True, True]
        assert [pool.call(lambda: 7).result(20) for _ in range(5)] == [7] * 5
        assert pool.waiting == 3
    finally:
        go_on.set()
        pool.close()
