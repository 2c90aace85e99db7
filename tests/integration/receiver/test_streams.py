"""Streams from several sites at once: in order, applied once, acked after the commit."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connections

from sockstream.receiver.models import Offset
from sockstream.receiver.signals import records_applied
from tests.conftest import on_two_centrals
from tests.databases import Databases
from tests.ends import wait_until
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import Acked, Oplog, Progressed, Site, connected, slot, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot


@contextmanager
def listener(hear: Callable[..., None]) -> Iterator[None]:
    records_applied.connect(hear)
    try:
        yield
    finally:
        records_applied.disconnect(hear)


def has_all_acked(site: Site) -> bool:
    return site.acked == site.oplog.seq


def test_a_site_s_records_arrive(central: str, trust: Trust) -> None:
    with Central(central, trust) as running:
        site = running.site()
        site.oplog.add([slot(1, "one"), slot(2, "two")])
        with connected(site):
            site.send_all()
    assert sorted(Slot.objects.using(central).values_list("position", "name")) == [
        (1, "one"),
        (2, "two"),
    ]
    offset = Offset.objects.using(central).get()
    assert (offset.source.name, offset.stream, offset.seq) == ("site", "main", 2)
    assert bytes(offset.digest) == site.oplog.digest


@on_two_centrals
def test_many_streams_beside_each_other_each_in_order(central: str, trust: Trust) -> None:
    heard: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def hear(source: str, first_seq: int, last_seq: int, **_: Any) -> None:
        heard[source].append((first_seq, last_seq))

    def run(site: Site) -> None:
        with connected(site):
            for _ in range(20):
                site.oplog.add(*([slot(None)] * 3 for _ in range(5)))
                site.fill()
                site.pump()
            site.send_all()

    with Central(central, trust) as running, listener(hear):
        sites = [running.site(f"site-{number}") for number in range(8)]
        with ThreadPoolExecutor(len(sites)) as pool:
            list(pool.map(run, sites))
    assert len(heard) == 8
    for ranges in heard.values():
        assert [first for first, _ in ranges] == [1, *(last + 1 for _, last in ranges[:-1])]
        assert ranges[-1][1] == 300
    assert {o.seq for o in Offset.objects.using(central)} == {300}
    assert {o.records_applied for o in Offset.objects.using(central)} == {300}


def test_who_writes_now_and_then_waits_for_one_turn_of_a_backlog(
    databases: Databases, trust: Trust
) -> None:
    databases.clean("central_pg")
    busy_ones = {f"busy-{number}" for number in range(4)}
    held, go_on = threading.Event(), threading.Event()
    heard: list[str] = []

    def hear(source: str, **_: Any) -> None:
        heard.append(source)
        if busy_ones <= set(heard) and not held.is_set():
            held.set()
            assert go_on.wait(20)

    # A batch is a turn.
    with (
        Central("central_pg", trust, APPLIERS=1, COMMIT_RECORDS=1) as running,
        listener(hear),
        ExitStack() as stack,
    ):
        quiet, *busy = (
            stack.enter_context(connected(running.site(name)))
            for name in ["quiet", *sorted(busy_ones)]
        )
        for site in busy:
            for _ in range(30):
                site.oplog.add(slots(1))
            site.fill()
            site.pump()
        assert held.wait(20)
        quiet.oplog.add(slots(1))
        quiet.fill()
        quiet.pump()
        waiting = running.server.holders.pool._turns
        wait_until(lambda: len(waiting) == len(busy), "all but one wait for their turn", 20)
        before = len(heard)
        go_on.set()
        quiet.run(lambda: quiet.acked == 1, "acked")
        assert heard.index("quiet") - before < 2


def test_a_turn_is_shorter_while_others_wait(databases: Databases, trust: Trust) -> None:
    databases.clean("central_pg")
    held, go_on = threading.Event(), threading.Event()
    sizes: list[int] = []

    def hear(first_seq: int, last_seq: int, **_: Any) -> None:
        sizes.append(last_seq - first_seq + 1)
        if not held.is_set():
            held.set()
            assert go_on.wait(20)

    with (
        Central("central_pg", trust, APPLIERS=1, COMMIT_RECORDS=5_000) as running,
        listener(hear),
        connected(running.site("one")) as one,
        connected(running.site("two")) as two,
    ):
        for site, count in ((one, 40), (two, 10)):
            for _ in range(count):
                site.oplog.add(slots(500))
            site.fill()
            site.pump()
            assert held.wait(20)

        def queued() -> int:
            links = running.server.links
            return sum(len(link._queue._queue) for link in links if link._queue)

        wait_until(lambda: queued() == 50 - sizes[0] // 500, "all the others wait", 20)
        go_on.set()
        one.run(lambda: one.acked == one.oplog.seq, "acked")
        two.run(lambda: two.acked == two.oplog.seq, "acked")
    assert sizes[1:3] == [2_500, 2_500]
    assert max(sizes[3:]) > 2_500


def test_a_turn_of_slow_records_is_shorter_while_others_wait(
    databases: Databases, trust: Trust
) -> None:
    """As many as the last turn managed in a second; alone, as many as there are."""
    databases.clean("central_pg")
    held, go_on = threading.Event(), threading.Event()
    sizes: dict[str, list[int]] = {"one": [], "two": []}

    def hear(source: str, first_seq: int, last_seq: int, **_: Any) -> None:
        sizes[source].append(last_seq - first_seq + 1)
        if not held.is_set():
            held.set()
            go_on.wait(20)

    with (
        Central("central_pg", trust, APPLIERS=1) as running,
        listener(hear),
        connected(running.site("one")) as one,
        connected(running.site("two")) as two,
    ):
        begun = time.monotonic()
        one.oplog.add(slots(500))
        one.fill()
        one.pump()
        assert held.wait(20)
        for site in (one, two):
            for _ in range(12):
                site.oplog.add(slots(500))
            site.fill()
            site.pump()
        waiting = running.server.holders.pool._turns
        wait_until(lambda: len(waiting) == 1, "the other one waits", 20)
        wait_until(lambda: time.monotonic() > begun + 1.5, "the first turn is a slow one", 20)
        go_on.set()
        for site in (one, two):
            site.run(partial(has_all_acked, site), "acked")
    assert sizes["one"][:2] == [500, 500]
    assert max(sizes["two"]) > 500


@on_two_centrals
def test_one_site_with_two_streams(central: str, trust: Trust) -> None:
    with Central(central, trust) as running:
        one, two = running.site(stream="one"), running.site(stream="two")
        for site in (one, two):
            site.oplog.add([slot(None)])
        with connected(one), connected(two):
            one.send_all()
            two.send_all()
    assert Offset.objects.using(central).count() == 2


@on_two_centrals
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({}, [(1, 1), (2, 10)]),
        ({"COMMIT_RECORDS": 4}, [(1, 1), (2, 5), (6, 9), (10, 10)]),
        ({"COMMIT_BYTES": 1}, [(each, each) for each in range(1, 11)]),
    ],
    ids=["default", "records", "bytes"],
)
def test_queued_batches_share_a_transaction(
    central: str, trust: Trust, limit: dict[str, int], expected: list[tuple[int, int]]
) -> None:
    commits: list[tuple[int, int]] = []
    first_is_in, go_on = threading.Event(), threading.Event()

    def hear(first_seq: int, last_seq: int, **_: Any) -> None:
        commits.append((first_seq, last_seq))
        first_is_in.set()
        go_on.wait(10)

    with Central(central, trust, **limit) as running, listener(hear):
        site = running.site()
        site.oplog.add([slot(None)])
        with connected(site):
            site.fill()
            site.run(first_is_in.is_set, "the first commit", fill=False)
            for _ in range(9):
                site.oplog.add([slot(None)])
            site.fill()
            site.run(lambda: site.session.sent_seq == 10, "sent", fill=False)
            until = time.monotonic() + 0.5
            site.run(lambda: time.monotonic() > until, "arrived", fill=False)
            go_on.set()
            site.send_all()
    assert commits == expected


@on_two_centrals
def test_reading_goes_on_while_a_transaction_applies(central: str, trust: Trust) -> None:
    """Pings are answered, and progress is told, as long as it takes."""
    held, go_on = threading.Event(), threading.Event()

    def hear(**_: Any) -> None:
        held.set()
        go_on.wait(20)

    with Central(central, trust, HEARTBEAT=0.5) as running, listener(hear):
        site = running.site()
        site.oplog.add([slot(None)])
        with connected(site):
            site.fill()
            site.run(held.is_set, "being applied", fill=False)
            site.wait_for(Progressed)
            until = time.monotonic() + 3
            site.run(lambda: time.monotonic() > until, "six heartbeats", fill=False)
            assert not site.ended
            assert not site.said(Acked)
            go_on.set()
            site.send_all()


def test_a_group_of_several_batches_is_seen_whole_or_not_at_all(central: str, trust: Trust) -> None:
    with Central(central, trust) as running:
        site = running.site()
        site.oplog.add(slots(3), slots(2), goes_on=True)
        site.oplog.add(slots(4), goes_on=True)
        with connected(site):
            site.run(lambda: site.acked == 3, "the first group")
            until = time.monotonic() + 0.5
            site.run(lambda: time.monotonic() > until, "the open group")
            assert Slot.objects.using(central).count() == 3
            site.oplog.add(slots(1))
            site.send_all()
        assert Slot.objects.using(central).count() == 10


def test_on_sqlite_there_is_one_thread_as_there_is_one_writer(databases: Any, trust: Trust) -> None:
    """Whoever wants to write waits for its turn, not for the lock."""
    databases.clean("central_sqlite")
    with Central("central_sqlite", trust, APPLIERS=4) as running:
        sites = [running.site(f"site-{number}") for number in range(4)]
        for site in sites:
            site.oplog.add(*([slot(None)] for _ in range(50)))
            site.connect()
            site.fill()
        for site in sites:
            site.send_all()
        threads = [thread for thread in threading.enumerate() if "applier" in thread.name]
        assert len(threads) == 1


@on_two_centrals
def test_what_was_applied_is_not_applied_again(central: str, trust: Trust) -> None:
    oplog = Oplog()
    oplog.add(slots(5), slots(5))
    with Central(central, trust) as running:
        for _ in range(2):
            site = running.site(oplog=oplog)
            with connected(site):
                site.send_all()
        offset = Offset.objects.using(central).get()
    assert (offset.seq, offset.records_applied, offset.inserts_met) == (10, 10, 0)


def test_a_database_that_fails_for_a_while_keeps_the_link(databases: Any, trust: Trust) -> None:
    """Its connections are killed in the middle; the stream goes on by itself."""
    databases.clean("central_pg")
    with Central("central_pg", trust) as running:
        site = running.site()
        with connected(site):
            for _ in range(5):
                site.oplog.add(slots(50))
                site.send_all()
                with connections["central_pg"].cursor() as cursor:
                    cursor.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = 'central_pg' AND pid <> pg_backend_pid()"
                    )
            site.oplog.add(slots(1))
            site.send_all()
            assert len(site.said(Acked)) >= 6
        running.wait_for_line("trying again")
    assert Slot.objects.using("central_pg").count() == 251


def test_a_database_that_is_down_for_a_while(databases: Any, trust: Trust) -> None:
    """The link is kept, nothing is acked, and the site hears that central is alive."""
    databases.clean("central_pg", "site_pg")
    with Central("central_pg", trust, HEARTBEAT=0.3) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            with down():
                site.oplog.add(slots(1))
                site.run(lambda: running.said("trying again"), "noticed")
                site.run(lambda: heard_of(site, 1, 0) > 3, "progress")
                assert site.acked == 1
            site.send_all()
            assert running.said("the database is back")
        assert not running.said("gone: silence")
        assert sum("noted as seen" in line for line in running.lines) <= 1


@contextmanager
def down() -> Iterator[None]:
    """Nobody gets a connection to central_pg."""
    with connections["site_pg"].cursor() as cursor:
        cursor.execute("ALTER DATABASE central_pg WITH ALLOW_CONNECTIONS false")
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'central_pg'"
        )
        try:
            yield
        finally:
            cursor.execute("ALTER DATABASE central_pg WITH ALLOW_CONNECTIONS true")
            connections["central_pg"].close()


def heard_of(site: Site, seq: int, applied: int) -> int:
    """How often central said that it is alive, with or without the reason why it cannot go on."""
    heard = [event for event in site.events if isinstance(event, Progressed)]
    return sum((event.seq, event.applied) == (seq, applied) for event in heard)
