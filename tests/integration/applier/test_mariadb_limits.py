"""MariaDB at central: a server that is lax, busy or small changes no value and parks no record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.receiver import parked
from sockstream.receiver.applying.applier import Retry, Stopped
from sockstream.receiver.models import Offset, Parked
from sockstream.wire.records import INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Everything, Parameter, Slot


@pytest.fixture
def maria(databases: Databases) -> Iterator[str]:
    databases.clean("central_maria")
    yield "central_maria"
    connections["central_maria"].close()


@contextmanager
def server(using: str, name: str, value: float | str) -> Iterator[None]:
    """A global variable of the server, for the sessions that begin meanwhile."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT @@GLOBAL.{name}")
        [before] = cursor.fetchone()
        cursor.execute(f"SET GLOBAL {name} = %s", [value])
    connections[using].close()
    try:
        yield
    finally:
        connections[using].close()
        with connections[using].cursor() as cursor:
            cursor.execute(f"SET GLOBAL {name} = %s", [before])
        connections[using].close()


@contextmanager
def session(using: str, name: str, value: float | str) -> Iterator[None]:
    """A variable of our own session, which ends with it."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SET SESSION {name} = %s", [value])
    try:
        yield
    finally:
        connections[using].close()


# A server that is not strict.

CHANGED = {
    "char": "x" * 300,
    "small": 100_000,
    "positive": -1,
    "integer": "many",
    "date": "2026-02-31",
    "datetime": "2026-02-31 00:00:00",
}


@pytest.fixture
def lax(maria: str) -> Iterator[str]:
    with server(maria, "sql_mode", ""):
        yield maria


def everything(**values: Any) -> tuple[Layout, list[Any]]:
    """The record of a row as it stands on the wire."""
    layout = Layout("zoo.everything", ("id",), tuple(values))
    return layout, [bytes(range(16)), *values.values()]


@pytest.mark.parametrize("name", CHANGED)
def test_a_value_that_does_not_fit_is_refused(name: str, lax: str) -> None:
    feed = Feed()
    feed.raw(INSERT, *everything(**{name: CHANGED[name]}))
    with pytest.raises(Stopped) as stopped:
        feed.applier(lax).apply([feed.batch()])
    assert stopped.value.model == "zoo.everything"
    assert not Everything.objects.using(lax).exists()


def test_bytes_that_are_no_text_are_refused(lax: str) -> None:
    feed = Feed()
    feed.raw(INSERT, *everything(char=b"\xff\xfe"))
    with pytest.raises(Stopped):
        feed.applier(lax).apply([feed.batch()])


def test_the_application_s_sessions_stay_as_they_are(lax: str, parks: None) -> None:
    feed = Feed()
    feed.raw(INSERT, *everything(char="x" * 300))
    feed.applier(lax).apply([feed.batch()])
    [row] = Parked.objects.using(lax).all()
    connections[lax].close()
    outcome = parked.retry(lax)
    assert [each.pk for each in outcome.parked] == [row.pk]
    assert mode(lax) == ""
    assert not Everything.objects.using(lax).exists()
    with connections[lax].cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_everything MODIFY `char` varchar(300) NULL")
    try:
        assert parked.retry(lax).applied == 1
    finally:
        with connections[lax].cursor() as cursor:
            cursor.execute("DELETE FROM zoo_everything")
            cursor.execute("ALTER TABLE zoo_everything MODIFY `char` varchar(200) NULL")
    assert mode(lax) == ""


def mode(using: str) -> str:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT @@SESSION.sql_mode")
        return str(cursor.fetchone()[0])


def test_a_new_connection_is_strict_too(lax: str) -> None:
    feed = Feed()
    applier = feed.applier(lax)
    applier.apply([feed.insert(Slot()).batch()])
    connections[lax].close()
    feed.raw(INSERT, *everything(char="x" * 300))
    with pytest.raises(Stopped):
        applier.apply([feed.batch()])


# A server that accepts only so much at a time.

MIB = 1 << 20


@pytest.fixture
def small(maria: str) -> Iterator[str]:
    with server(maria, "max_allowed_packet", MIB):
        yield maria


def test_a_row_beyond_the_packet_is_named(small: str) -> None:
    feed = Feed()
    applier = feed.applier(small)
    rows = [Parameter(name="small"), Parameter(name="large", value="y" * (MIB + MIB // 2))]
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(rows[0]).end().insert(rows[1]).batch()])
    error = stopped.value.error
    assert (error.code, stopped.value.key) == ("record-too-large", "large")
    assert "max_allowed_packet" in error.mend
    assert Offset.objects.using(small).get().seq == 1


@pytest.mark.parametrize("char", ["'", "\\", "\n", "ä"])
def test_a_row_grows_when_it_is_written_into_a_statement(char: str, small: str) -> None:
    feed = Feed()
    row = Parameter(name="row", value=char * (MIB * 5 // 8))
    with pytest.raises(Stopped) as stopped:
        feed.applier(small).apply([feed.insert(row).batch()])
    assert stopped.value.error.code == "record-too-large"


def test_bytes_may_be_written_as_digits(small: str) -> None:
    feed = Feed()
    row = Everything(binary=b"y" * (MIB * 5 // 8))
    with pytest.raises(Stopped) as stopped:
        feed.applier(small).apply([feed.insert(row).batch()])
    assert (stopped.value.error.code, stopped.value.key) == ("record-too-large", str(row.pk))


@pytest.mark.parametrize("char", ["y", "'", "\\"])
def test_what_just_fits_arrives(char: str, small: str) -> None:
    feed = Feed()
    applier = feed.applier(small)
    row = Parameter(name="row", value=char * ((MIB - 5_000) // (1 if char == "y" else 2)))
    applier.apply([feed.insert(row).batch()])
    applier.apply([feed.update(row).batch()])
    assert Parameter.objects.using(small).get().value == row.value


def test_many_rows_that_are_too_much_together_arrive(small: str) -> None:
    feed = Feed()
    sizes = [300_000, 10, 900_000, 400_000, 400_000, 400_000, 20, 700_000]
    rows = [Parameter(name=str(n), value="'" * (size // 2)) for n, size in enumerate(sizes)]
    blobs = [Everything(binary=bytes(range(256)) * 1_500) for _ in range(5)]
    feed.applier(small).apply([feed.insert(*rows, *blobs).batch()])
    assert Parameter.objects.using(small).count() == len(sizes)
    found = Everything.objects.using(small).values_list("binary", flat=True)
    assert list(found) == [bytes(range(256)) * 1_500] * 5


@pytest.mark.parametrize(("size", "parks_it"), [(300_000, True), (700_000, False)])
def test_a_record_that_could_not_be_parked_either_stops_its_stream(
    size: int, parks_it: bool, small: str, parks: None
) -> None:
    feed = Feed()
    applier = feed.applier(small)
    batch = feed.insert(Parameter(name="x" * 60, value="y" * size), Slot()).batch()
    if parks_it:
        assert applier.apply([batch]).offset == 2
    else:
        with pytest.raises(Stopped) as stopped:
            applier.apply([batch])
        assert (stopped.value.error.code, stopped.value.seq) == ("record-too-large", 1)
        assert "Data too long" in stopped.value.error.words
    assert Parked.objects.using(small).count() == parks_it


def test_many_records_are_parked_by_statements_that_fit(small: str, parks: None) -> None:
    feed = Feed()
    rows = [Parameter(name=f"{n:060}", value="'" * 200_000) for n in range(12)]
    assert feed.applier(small).apply([feed.insert(*rows).batch()]).offset == 12
    assert Parked.objects.using(small).count() == 12


# A server that is busy.


@contextmanager
def holding(using: str, table: str) -> Iterator[BaseDatabaseWrapper]:
    """Somebody at central has locked the rows of the table."""
    other = connections.create_connection(using)
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} FOR UPDATE")
    try:
        yield other
    finally:
        other.close()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("innodb_lock_wait_timeout", 1, "Lock wait timeout"),
        ("max_statement_time", 0.5, "max_statement_time"),
    ],
)
@pytest.mark.parametrize("write", [Feed.update, Feed.delete])
def test_who_waits_too_long_comes_again(
    name: str, value: float, words: str, write: Callable[..., Feed], maria: str, parks: None
) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    row = Parameter(name="key", value="1")
    applier.apply([feed.insert(row).batch()])
    batch = write(feed, row).insert(Parameter(name="next")).batch()
    with session(maria, name, value), holding(maria, "zoo_parameter"):
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == "retry"
        assert words in failed.value.error.words
    assert applier.apply([batch]).offset == 3
    assert not Parked.objects.using(maria).exists()


def test_a_read_only_server_says_so(maria: str, parks: None) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    batch = feed.insert(Slot()).batch()
    with session(maria, "tx_read_only", 1):
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == "db-readonly"
    assert applier.apply([batch]).offset == 1
    assert not Parked.objects.using(maria).exists()


def test_a_connection_that_was_killed_comes_again(maria: str, parks: None) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(Slot()).batch()])
    batch = feed.insert(Slot()).batch()
    with connections[maria].cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        [number] = cursor.fetchone()
    other = connections.create_connection(maria)
    with other.cursor() as cursor:
        cursor.execute(f"KILL {number}")
    other.close()
    with pytest.raises(Retry) as failed:
        applier.apply([batch])
    assert failed.value.error.code == "db-unavailable"
    connections[maria].close()
    assert applier.apply([batch]).offset == 2
    assert not Parked.objects.using(maria).exists()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("inf"), "inf, which is no finite number"),
        (float("-inf"), "-inf, which is no finite number"),
        ([], r"\[\], which is no value of central's column"),
        ([1.5], r"\[1.5\], which is no value of central's column"),
        ({"a": 1.5}, "{'a': 1.5}, which is no value of central's column"),
    ],
)
@pytest.mark.parametrize("field", ["float", "text"])
def test_a_value_that_no_driver_writes_is_about_its_record(
    field: str, value: Any, words: str, maria: str
) -> None:
    """In whatever column. What PyMySQL raises for some is no error that anybody expects."""
    layout = Layout("zoo.everything", ("id",), (field,))
    feed = Feed().raw(INSERT, layout, [b"a" * 16, 1.5]).end()
    feed.raw(INSERT, layout, [b"b" * 16, value])
    with pytest.raises(Stopped, match=f"'{field}' has {words}") as stopped:
        feed.applier(maria).apply([feed.batch()])
    assert (stopped.value.error.code, stopped.value.seq) == ("record-refused", 2)
