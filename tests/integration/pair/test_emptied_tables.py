"""TRUNCATE at a site of PostgreSQL: central's table is emptied of the site's rows, whatever the
transaction sees, and whatever comes before, after and meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import product
from typing import Any

import pytest
from django.db import transaction

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.oplog.snapshot import Snapshot
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.integration.pair.test_snapshots import is_equal, number, send, transfer
from tests.integration.pair.ways import plain_connection
from tests.zoo.models import Author, Counter, Essay, Hall, Reading, Seat, Slot

pytestmark = pytest.mark.parametrize(
    "pair", [PAIRS["pg-pg"], PAIRS["pg-sqlite"]], ids=["pg-pg", "pg-sqlite"], indirect=True
)


TABLES = ("zoo_counter", "zoo_slot", "zoo_hall")
STEPS = 12


@pytest.fixture
def other(pair: Pair) -> Iterator[Any]:
    """A connection of another program, in autocommit."""
    with closing(plain_connection(pair.site)) as connection:
        yield connection


def seats(pair: Pair, name: str, count: int = 3) -> Hall:
    hall = Hall.objects.using(pair.site).create(name=name)
    Seat.objects.using(pair.site).bulk_create(Seat(hall=hall, number=n) for n in range(count))
    return hall


def essays(pair: Pair, name: str) -> None:
    author = Author.objects.using(pair.site).create(name=name)
    Essay.objects.using(pair.site).create(title=name, author=author).readers.add(author)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_rows_that_the_transaction_does_not_see(pair: Pair, other: Any, level: str) -> None:
    seats(pair, "old")
    transfer(pair)
    other.execute(f"BEGIN ISOLATION LEVEL {level}")
    other.execute("SELECT 1 FROM zoo_seat")
    seats(pair, "new")
    other.execute("TRUNCATE zoo_seat")
    other.execute("COMMIT")
    transfer(pair)
    assert Seat.objects.using(pair.central).count() == 0
    assert is_equal(pair)


def test_rows_of_the_same_transaction_before_and_after(pair: Pair, other: Any) -> None:
    Slot.objects.using(pair.site).create(position=0)
    transfer(pair)
    row = "INSERT INTO zoo_slot VALUES (gen_random_uuid(), %s, '')"
    other.execute("BEGIN")
    other.execute(row, [1])
    other.execute("UPDATE zoo_slot SET name = 'a'")
    other.execute("TRUNCATE zoo_slot")
    other.execute(row, [1])
    other.execute("SAVEPOINT kept")
    other.execute("TRUNCATE zoo_slot")
    other.execute("ROLLBACK TO kept")
    other.execute(row, [2])
    other.execute("COMMIT")
    transfer(pair)
    assert Slot.objects.using(pair.central).count() == 2
    assert is_equal(pair)


def test_keys_that_come_again(pair: Pair, other: Any) -> None:
    """Integer keys begin with 1 again, and a unique key is another row's."""
    for name in ("a", "b"):
        counter = Counter.objects.using(pair.site).create(name=name)
        Reading.objects.using(pair.site).create(counter=counter)
        essays(pair, name)
    transfer(pair)
    with transaction.atomic(using=pair.site):
        other.execute("TRUNCATE zoo_counter, zoo_author RESTART IDENTITY CASCADE")
        counter = Counter.objects.using(pair.site).create(name="c")
        Reading.objects.using(pair.site).create(counter=counter)
        essays(pair, "a")
    transfer(pair)
    assert is_equal(pair)


def test_what_other_triggers_of_the_same_statement_write(pair: Pair, other: Any) -> None:
    """Before and after the rows go, into this table, for it and for another one."""
    Slot.objects.using(pair.site).create(position=0)
    transfer(pair)
    other.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO zoo_slot "
        "VALUES (gen_random_uuid(), TG_ARGV[0]::int, TG_NAME); RETURN NULL; END $$"
    )
    try:
        for number, (when, table) in enumerate(product(("BEFORE", "AFTER"), TABLES)):
            other.execute(
                f"CREATE TRIGGER note{number} {when} TRUNCATE ON {table} "
                f"EXECUTE FUNCTION note({number + 1})"
            )
        other.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
    finally:
        other.execute("DROP FUNCTION note CASCADE")
    transfer(pair)
    assert Slot.objects.using(pair.central).count() == len(TABLES)
    assert is_equal(pair)


@pytest.mark.parametrize("at", range(STEPS + 1))
def test_in_a_running_snapshot(pair: Pair, other: Any, at: int) -> None:
    """Wherever the snapshot is: the rows before it go, and new ones have parents that it brings."""
    for name in ("a", "b", "c"):
        essays(pair, name)
        seats(pair, name)
    transfer(pair)
    labels = ["zoo.hall", "zoo.seat", "zoo.author", "zoo.essay", "zoo.essay_readers"]
    small = Settings(MODELS=ours().MODELS, BATCH_RECORDS=2)
    steps = Snapshot(pair.site, small, labels).steps()
    for _ in range(at):
        assert next(steps, 0) is not None
    other.execute("TRUNCATE zoo_essay, zoo_seat CASCADE")
    essays(pair, "new")
    hall = seats(pair, "new")
    Seat.objects.using(pair.site).filter(hall=hall, number=1).update(taken=True)
    Seat.objects.using(pair.site).filter(hall=hall, number=2).delete()
    if at % 2:
        number(pair, 2)
        send(pair)
    other.execute("TRUNCATE zoo_author CASCADE")
    essays(pair, "newer")
    for more in steps:
        assert more is not None
    transfer(pair)
    assert is_equal(pair)
    essays(pair, "last")
    Seat.objects.using(pair.site).update(taken=True)
    transfer(pair)
    assert is_equal(pair)


def test_a_snapshot_later(pair: Pair, other: Any) -> None:
    seats(pair, "old")
    other.execute("TRUNCATE zoo_seat")
    seats(pair, "new")
    transfer(pair)
    Snapshot(pair.site, Settings(MODELS=ours().MODELS)).take()
    transfer(pair)
    assert Seat.objects.using(pair.central).count() == 3
    assert is_equal(pair)
