"""A snapshot on PostgreSQL, beside transactions of others that are not over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connections, transaction

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.capture import marks
from sockstream.sender.capture.copying import copiers
from sockstream.sender.oplog import store
from sockstream.sender.oplog.snapshot import Snapshot
from tests.backups import backup
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.integration.pair.test_snapshots import is_equal, transfer
from tests.integration.pair.ways import plain_connection
from tests.zoo.models import Author, Hall, Seat

ON_POSTGRESQL = pytest.mark.parametrize("pair", [PAIRS["pg-pg"]], ids=["pg-pg"], indirect=True)
WRITE = "INSERT INTO zoo_hall (id, name) VALUES (gen_random_uuid(), 'late')"


def somebody(using: str) -> Any:
    """A connection that is always in a transaction."""
    connection = plain_connection(using)
    connection.autocommit = False
    return connection


@pytest.fixture
def late(pair: Pair) -> Iterator[Any]:
    """Somebody else at the site, who takes his time."""
    with closing(somebody(pair.site)) as connection:
        yield connection


def finish(pair: Pair, steps: Iterator[int | None], late: Any) -> int:
    """Go on; the late one commits when the snapshot waits for him, or at the end.

    Returns how often it waited.
    """
    waits = 0
    for more in steps:
        if more is None:
            waits += 1
            late.commit()
    late.commit()
    transfer(pair)
    assert is_equal(pair)
    return waits


@ON_POSTGRESQL
def test_a_row_inserted_before_and_committed_after_it_was_read(pair: Pair, late: Any) -> None:
    Hall(name="there").save(using=pair.site)
    transfer(pair)
    steps = Snapshot(pair.site, Settings(MODELS=ours().MODELS)).steps()
    next(steps)
    late.cursor().execute(WRITE)
    assert finish(pair, steps, late) == 1


@ON_POSTGRESQL
@pytest.mark.parametrize("write", ["UPDATE zoo_seat SET taken = true", "DELETE FROM zoo_seat"])
def test_a_row_that_is_being_changed_while_it_is_read(pair: Pair, late: Any, write: str) -> None:
    """Its old image must neither overwrite the new one nor bring a deleted row back."""
    hall = Hall(name="there")
    hall.save(using=pair.site)
    Seat.objects.using(pair.site).bulk_create(Seat(hall=hall, number=n) for n in range(5))
    transfer(pair)
    copier = copiers(pair.site, Settings(MODELS=ours().MODELS, BATCH_RECORDS=2))["zoo.seat"]
    late.cursor().execute(f"{write} WHERE number IN (1, 3)")
    with transaction.atomic(using=pair.site):
        marks.put(pair.site, marks.BEGIN, [copier.plan.number])
        marks.put(pair.site, marks.LOAD, [copier.plan.number])
    waits = 0
    for more in copier.parts():
        if more is None:
            waits += 1
            late.commit()
    late.commit()
    with transaction.atomic(using=pair.site):
        marks.put(pair.site, marks.END, [copier.plan.number])
    transfer(pair)
    assert is_equal(pair)
    assert waits


@ON_POSTGRESQL
def test_a_row_inserted_before_a_new_epoch_and_committed_after_it(pair: Pair, late: Any) -> None:
    """It refers to one that central lacks, and that the snapshot brings after it."""
    transfer(pair)
    before = backup(pair.central)
    author = Author(name="unknown to central")
    author.save(using=pair.site)
    transfer(pair)
    assert store.prune(pair.site, timedelta(0))
    before.restore()
    essay = "INSERT INTO zoo_essay (id, title, author_id) VALUES (%s, 'late', %s)"
    late.cursor().execute(essay, [uuid4(), author.pk])
    steps = Snapshot(pair.site, Settings(MODELS=ours().MODELS)).steps(new_epoch=True)
    next(steps)
    assert finish(pair, steps, late) == 1


def of_halls(pair: Pair) -> Iterator[int | None]:
    """The steps of a snapshot of one model."""
    return Snapshot(pair.site, Settings(MODELS=ours().MODELS), ["zoo.Hall"]).steps()


@ON_POSTGRESQL
@pytest.mark.parametrize(
    "statements",
    [
        ["SELECT pg_current_xact_id()"],
        ["INSERT INTO auth_group (name) VALUES ('not captured')"],
        ["SELECT 1 FROM sockstream_sender_capture", "SELECT 1 FROM zoo_hall"],
        ["SAVEPOINT one", WRITE, "ROLLBACK TO one"],
    ],
    ids=["an id", "another table", "a reader", "undone"],
)
def test_who_has_captured_nothing_is_not_waited_for(
    pair: Pair, late: Any, statements: list[str]
) -> None:
    Hall(name="there").save(using=pair.site)
    transfer(pair)
    for statement in statements:
        late.cursor().execute(statement)
    assert None not in of_halls(pair)
    late.commit()
    transfer(pair)
    assert is_equal(pair)


@ON_POSTGRESQL
def test_another_database_of_the_server_is_not_waited_for(pair: Pair) -> None:
    """Not even a copy, whose tables are called and numbered as ours are."""
    Hall(name="there").save(using=pair.site)
    transfer(pair)
    connections.close_all()
    with closing(plain_connection(pair.central)) as server:
        server.execute("CREATE DATABASE twin TEMPLATE site_pg")
        try:
            address = connections[pair.site].settings_dict
            host, port, user = address["HOST"], address["PORT"], address["USER"]
            with psycopg.connect(host=host, port=port, user=user, dbname="twin") as other:
                other.execute(WRITE)
                assert None not in of_halls(pair)
        finally:
            server.execute("DROP DATABASE twin")
    transfer(pair)
    assert is_equal(pair)


@ON_POSTGRESQL
def test_who_writes_after_the_mark_is_not_waited_for(pair: Pair, late: Any) -> None:
    transfer(pair)
    steps = of_halls(pair)
    next(steps)
    late.cursor().execute(WRITE)
    assert next(steps) is None
    with closing(somebody(pair.site)) as later:
        later.cursor().execute(WRITE)
        assert next(steps) is None
        late.commit()
        assert None not in steps
        later.commit()
    transfer(pair)
    assert Hall.objects.using(pair.central).count() == 2
    assert is_equal(pair)


@ON_POSTGRESQL
def test_a_transaction_that_is_prepared_meanwhile_is_waited_for(pair: Pair, late: Any) -> None:
    """While a sender sleeps, a NOTIFY forbids it: so it only locks what a capture does."""
    late.cursor().execute("DELETE FROM sockstream_sender_capture WHERE id = 0")
    steps = of_halls(pair)
    assert [next(steps), next(steps)] == [0, None]
    late.cursor().execute("PREPARE TRANSACTION 'late'")
    try:
        assert next(steps) is None
    finally:
        with closing(plain_connection(pair.site)) as another:
            another.execute("COMMIT PREPARED 'late'")
    assert None not in steps


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("statement", "whom"),
    [
        (WRITE, "transactions that wrote before: pid {} (see pg_stat_activity)"),
        ("SELECT 1 FROM zoo_hall FOR UPDATE", "a transaction that locks a row of zoo.hall (see "),
    ],
    ids=["wrote", "locks"],
)
def test_it_says_whom_it_waits_for(
    pair: Pair, late: Any, monkeypatch: pytest.MonkeyPatch, statement: str, whom: str
) -> None:
    Hall(name="there").save(using=pair.site)
    late.cursor().execute(statement)
    said = []

    def say(words: str) -> None:
        said.append(words)
        late.commit()

    monkeypatch.setattr("sockstream.sender.oplog.snapshot._SAY_AFTER", 0.0)
    Snapshot(pair.site, Settings(MODELS=ours().MODELS), ["zoo.Hall"], say).take()
    assert said[0].startswith(f"Waiting for {whom.format(late.info.backend_pid)}")
    assert "\n" not in said[0]
    assert said[1].startswith("zoo.hall: ")


@ON_POSTGRESQL
def test_it_does_not_wait_for_itself(pair: Pair) -> None:
    with transaction.atomic(using=pair.site):
        Hall(name="there").save(using=pair.site)
        assert None not in of_halls(pair)
    transfer(pair)
    assert is_equal(pair)
