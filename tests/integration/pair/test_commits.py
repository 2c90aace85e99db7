"""From the commit on: how soon it is at central, whatever order transactions end in."""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connections

from demo.compare import compare
from polls.models import Tag
from sockstream.sender.models import Capture
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    position,
    shared_models,
    wait_until,
    wait_until_applied,
)
from tests.integration.pair.ways import ask, plain_connection

SAMPLES = 60
# Far above what is usual (a few milliseconds): the machine may be busy with other tests.
MEDIAN_WITHIN = 0.25
IDLE_FOR = 5.0
IDLE_SHARE = 0.01

on_postgresql = pytest.mark.parametrize(
    "pair", [PAIRS["pg-pg"], PAIRS["pg-sqlite"]], ids=["pg-pg", "pg-sqlite"], indirect=True
)


@pytest.fixture
def sender(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> Iterator[SenderProcess]:
    """The site's end of `pair`, connected."""
    with SenderProcess(pair.site, certificates, receiver.address) as process:
        process.wait_until_connected()
        yield process


def test_a_commit_is_soon_at_central(pair: Pair, sender: SenderProcess) -> None:
    delays = []
    with closing(plain_connection(pair.central)) as connection:
        seen = connection.cursor()
        for number in range(SAMPLES):
            Tag(name=str(number)).save(using=pair.site)
            committed = time.perf_counter()
            while not has_tag(seen, str(number)):
                assert time.perf_counter() < committed + 10
            delays.append(time.perf_counter() - committed)
    median, slowest = statistics.median(delays), max(delays)
    sys.stdout.write(f"commit to central: p50 {median * 1e3:.1f} ms, max {slowest * 1e3:.1f} ms\n")
    assert median < MEDIAN_WITHIN


def has_tag(cursor: Any, name: str) -> bool:
    cursor.execute(f"SELECT 1 FROM polls_tag WHERE name = '{name}'")
    return cursor.fetchone() is not None


@pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
def test_a_sender_without_work_uses_no_cpu(pair: Pair, sender: SenderProcess) -> None:
    ask(pair.site, "the last one for a while")
    wait_until_applied(pair, sender)
    # What it still notes and looks at after the last ack is over.
    time.sleep(2.0)
    before = cpu_seconds(sender.pid)
    time.sleep(IDLE_FOR)
    used = cpu_seconds(sender.pid) - before
    sys.stdout.write(f"idle: {used / IDLE_FOR:.3%} of a core\n")
    assert used / IDLE_FOR < IDLE_SHARE


def cpu_seconds(pid: int) -> float:
    """What a process has used: to the nanosecond where the kernel says so, else to its tick."""
    threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@on_postgresql
def test_a_lower_id_that_commits_last_arrives(pair: Pair, sender: SenderProcess) -> None:
    with open_transaction(pair.site) as late:
        add_tag(late, "early id, late commit")
        Tag(name="late id, early commit").save(using=pair.site)
        wait_until_applied(pair, sender)
        sent = position(pair)
        assert names(pair.central) == {"late id, early commit"}
        late.commit()
    wait_until(lambda: len(names(pair.central)) == 2, "the late commit at central")
    assert position(pair)[1] == sent[1] + 1
    check(pair)


@on_postgresql
def test_many_transactions_that_overtake_each_other_arrive(
    pair: Pair, sender: SenderProcess
) -> None:
    transactions = [plain_connection(pair.site) for _ in range(8)]
    for each in transactions:
        each.autocommit = False
    for turn in range(3):
        for number, each in enumerate(transactions):
            add_tag(each, f"{number}/{turn}")
            Tag(name=f"between {number}/{turn}").save(using=pair.site)
    for number in (7, 0, 3, 1, 6, 2, 5, 4):
        if number == 3:
            transactions[number].rollback()
        else:
            transactions[number].commit()
        transactions[number].close()
        wait_until_applied(pair, sender)
    assert len(names(pair.central)) == 24 + 7 * 3
    check(pair)


@on_postgresql
def test_a_row_changed_by_one_who_waited_for_a_late_commit_arrives(
    pair: Pair, sender: SenderProcess
) -> None:
    question = ask(pair.site, "one")
    with open_transaction(pair.site) as first, open_transaction(pair.site) as second:
        # The second one takes its snapshot and an id first, and the row's lock last.
        add_tag(second, "second")
        rename(first, question.id, "two")
        Tag(name="meanwhile").save(using=pair.site)
        wait_until_applied(pair, sender)
        first.commit()
        rename(second, question.id, "three")
        second.commit()
    wait_until(lambda: len(names(pair.central)) == 2, "the second one's tag at central")
    wait_until_applied(pair, sender)
    check(pair)


@on_postgresql
def test_a_parent_that_commits_with_an_id_above_its_child_arrives(
    pair: Pair, sender: SenderProcess
) -> None:
    """Django's foreign keys are checked at the commit: a child may be written before its parent,
    and by its id stands before it."""
    parent, child = uuid.uuid4(), uuid.uuid4()
    with open_transaction(pair.site) as late:
        add_category(late, child, parent)
        Tag(name="meanwhile").save(using=pair.site)
        wait_until_applied(pair, sender)
        add_category(late, parent, None)
        late.commit()
    wait_until(lambda: count(pair.central, "zoo_category") == 2, "both categories at central")
    check(pair)


@on_postgresql
def test_a_child_whose_parent_another_transaction_committed_first_arrives(
    pair: Pair, sender: SenderProcess
) -> None:
    """The child's id is the lower one, and it was written when its parent was not there yet."""
    parent, child = uuid.uuid4(), uuid.uuid4()
    with open_transaction(pair.site) as late:
        add_category(late, child, parent)
        with open_transaction(pair.site) as other:
            add_category(other, parent, None)
            other.commit()
        late.commit()
    wait_until(lambda: count(pair.central, "zoo_category") == 2, "both categories at central")
    check(pair)


@on_postgresql
def test_a_late_commit_while_nobody_sends_arrives(
    pair: Pair, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    with open_transaction(pair.site) as late:
        add_tag(late, "late")
        Tag(name="early").save(using=pair.site)
        with SenderProcess(pair.site, certificates, receiver.address, once=True) as once:
            assert once.wait() == 0, once.log
        assert Capture.objects.using(pair.site).count() == 0
        assert names(pair.central) == {"early"}
        late.commit()
    with SenderProcess(pair.site, certificates, receiver.address, once=True) as once:
        assert once.wait() == 0, once.log
    assert names(pair.central) == {"early", "late"}
    check(pair)


@contextmanager
def open_transaction(alias: str) -> Iterator[Any]:
    """A connection of its own, whose transaction is open until it is committed here."""
    connection = plain_connection(alias)
    connection.autocommit = False
    try:
        yield connection
    finally:
        connection.close()


def add_tag(connection: Any, name: str) -> None:
    statement = "INSERT INTO polls_tag (id, name) VALUES (%s, %s)"
    connection.cursor().execute(statement, [uuid.uuid4(), name])


def add_category(connection: Any, key: uuid.UUID, parent: uuid.UUID | None) -> None:
    statement = "INSERT INTO zoo_category (id, name, parent_id) VALUES (%s, 'c', %s)"
    connection.cursor().execute(statement, [key, parent])


def rename(connection: Any, key: uuid.UUID, text: str) -> None:
    statement = "UPDATE polls_question SET text = %s WHERE id = %s"
    connection.cursor().execute(statement, [text, key])


def names(alias: str) -> set[str]:
    return set(Tag.objects.using(alias).values_list("name", flat=True))


def count(alias: str, table: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def check(pair: Pair) -> None:
    assert compare(shared_models(pair), pair.site, pair.central) == []
