"""Every field type arrives as the ORM wrote it."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, models
from django.db.models.fields.files import FieldFile

from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Defaulted, Everything, Generated, Odd, Order, Wide
from tests.zoo_pg.models import Arrays, Maps, Ranges

EVERYTHING: dict[str, list[Any]] = {
    "small": [-32768, 32767],
    "big": [-(2**63), 2**63 - 1],
    "positive": [0, 2147483647],
    "boolean": [True, False],
    "float": [0.1, -0.0, 1e308, 5e-324, float("inf"), float("-inf")],
    "decimal": [Decimal("12345678.1234"), Decimal("-0.0001"), Decimal(0)],
    "whole_decimal": [Decimal(10)],
    "char": ["", 'it\'s "quoted" \\ back', "NULL", "None", "{a,b}", "tab\tnew\nline\r", "\x01\x1f"],
    "text": ["ünïcödé 🎉", "x" * 100_000, " spaces "],
    "email": ["a@b.example"],
    "file": ["files/a b.txt"],
    "ip": ["10.0.0.1", "2001:db8::1"],
    "date": [date(1, 1, 1), date(9999, 12, 31)],
    "time": [time(0, 0), time(23, 59, 59, 999999)],
    "datetime": [
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(1, 1, 2, tzinfo=UTC),
    ],
    "duration": [
        timedelta(0),
        timedelta(microseconds=-1),
        timedelta(days=100_000, microseconds=1),
        timedelta(days=-3, seconds=5),
    ],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "json": [{"a": [1, None, 1.5, "ü", {}]}, [], "text", 0, False, {"quote": '"\\'}],
    "binary": [b"", b"\x00\xff\x5c\x22"],
}
CASES = [{name: value} for name, values in EVERYTHING.items() for value in [*values, None]]


def has(using: str, value: Any) -> bool:
    """Whether the database has this value: MySQL and MariaDB have no infinite numbers."""
    return connections[using].vendor != "mysql" or value not in (math.inf, -math.inf)


def stored(instance: models.Model, using: str) -> dict[str, Any]:
    """The row as central's ORM reads it."""
    found = type(instance)._default_manager.using(using).filter(pk=instance.pk).values().get()
    return {name: _comparable(value) for name, value in found.items()}


def given(instance: models.Model) -> dict[str, Any]:
    return {
        f.attname: _comparable(getattr(instance, f.attname))
        for f in instance._meta.concrete_fields
        if not f.generated
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, FieldFile):
        return value.name or ""
    return bytes(value) if isinstance(value, memoryview) else value


def test_each_value(central: str) -> None:
    """All of them in one batch, first as inserts and then as updates of other rows."""
    rows = [Everything(**case) for case in CASES if has(central, *case.values())]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows).batch()])
    for row in rows:
        assert stored(row, central) == given(row)
    for row, other in zip(rows, reversed(rows), strict=True):
        row.id, other.id = other.id, row.id
    applier.apply([feed.update(*rows).batch()])
    for row in rows:
        assert stored(row, central) == given(row)


def test_big_decimals(central: str) -> None:
    row = Everything(big_decimal=Decimal("123456789012345678901234567890.1234567890"))
    if connections[central].vendor == "sqlite":
        # SQLite keeps fifteen digits of a decimal, at the site as well.
        row.big_decimal = Decimal("12345.0123456789")
    feed = Feed()
    feed.applier(central).apply([feed.insert(row).batch()])
    assert stored(row, central)["big_decimal"] == row.big_decimal


def test_json_null_is_not_null(central: str) -> None:
    null, nothing = Everything(), Everything()
    feed = Feed().insert(nothing)
    layout, values = _last_record(feed)
    values[0] = null.id.bytes
    values[1 + layout.others.index("json")] = "null"
    feed.raw(1, layout, values)
    feed.applier(central).apply([feed.batch()])
    found = Everything.objects.using(central)
    assert found.filter(json__isnull=True).get().id == nothing.id
    assert found.filter(json__isnull=False).get().id == null.id


def _last_record(feed: Feed) -> tuple[Any, list[Any]]:
    from sockstream.wire.records import segments

    (segment,) = segments(feed._builder.build())
    _, index, values = segment.records[-1]
    return segment.layouts[index], values


def test_columns_that_generate_themselves(central: str) -> None:
    row = Generated(price=3, quantity=4, name="abc")
    feed = Feed()
    feed.applier(central).apply([feed.insert(row).batch()])
    found = Generated.objects.using(central).get()
    assert (found.total, found.shout) == (12, "ABC")


def test_columns_that_are_not_sent_get_their_defaults(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    row = Defaulted(name="one", state="old", count=1, ratio=1.0, active=False)
    row.made_at = datetime(2020, 1, 1, tzinfo=UTC)
    applier.apply([feed.insert(row, without=["state", "count"]).batch()])
    found = Defaulted.objects.using(central).get()
    assert (found.name, found.state, found.count, found.active) == ("one", "new", 5, False)
    Defaulted.objects.using(central).update(state="central")
    row.name = "two"
    applier.apply([feed.update(row, without=["state", "count"]).batch()])
    found.refresh_from_db()
    assert (found.name, found.state, found.count) == ("two", "central", 5)


def test_names_that_have_to_be_quoted(central: str) -> None:
    odd = Odd(select="1", camel="2", spaced="3", quoted="4", dotted="5", dollar="6", accented="7")
    order = Order(group=odd, values=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(odd, order).batch()])
    assert stored(odd, central) == given(odd)
    odd.new = odd.backslash = "8"
    applier.apply([feed.update(odd, order).batch()])
    assert stored(odd, central) == given(odd)
    assert Order.objects.using(central).get().group_id == odd.id
    applier.apply([feed.delete(order, odd).batch()])
    assert not Odd.objects.using(central).exists()


def test_a_table_of_150_columns(central: str) -> None:
    names = [f.name for f in Wide._meta.concrete_fields if f.name != "id"]
    rows = [Wide(**{name: _fitting(name) for name in names[number::3]}) for number in range(50)]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows).batch()])
    applier.apply([feed.update(*reversed(rows)).batch()])
    for row in rows:
        assert stored(row, central) == given(row)


def _fitting(name: str) -> Any:
    """A value for a column of the wide table."""
    values: dict[str, Any] = {
        "IntegerField": 7,
        "CharField": "seven",
        "DecimalField": Decimal("7.25"),
        "DateTimeField": datetime(2026, 7, 7, tzinfo=UTC),
        "BinaryField": b"\x07",
    }
    return values[Wide._meta.get_field(name).get_internal_type()]


def test_not_a_number(databases: Databases) -> None:
    databases.clean("central_pg")
    row = Everything(float=float("nan"))
    feed = Feed()
    feed.applier("central_pg").apply([feed.insert(row).batch()])
    found = Everything.objects.using("central_pg").get().float
    assert found is not None
    assert math.isnan(found)


POSTGRESQL: list[models.Model] = [
    Arrays(
        integers=[1, None, -3],
        texts=["", 'a"b\\c', None, "NULL", "{,}"],
        decimals=[Decimal("1.2500")],
        floats=[0.5, float("inf")],
        booleans=[True, False, None],
        uuids=[uuid.UUID(int=5), None],
        dates=[date(2026, 1, 2)],
        datetimes=[datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)],
        durations=[timedelta(days=1, microseconds=-1)],
        binaries=[b"\x00\\", b""],
        objects_=[{"a": [1, '"']}, None],
        nested=[[1, 2], [3, None]],
    ),
    Arrays(integers=[], nested=[]),
    Arrays(),
    Maps(map={"a": "1", 'b"\\': None, "": "ü=>,"}),
    Maps(map={}),
    Maps(map=None),
]


@pytest.mark.parametrize("number", range(len(POSTGRESQL)))
def test_arrays_and_maps(number: int, databases: Databases) -> None:
    databases.clean("central_pg")
    row = POSTGRESQL[number]
    feed = Feed()
    applier = feed.applier("central_pg")
    applier.apply([feed.insert(row).batch()])
    applier.apply([feed.update(row).batch()])
    found = type(row)._default_manager.using("central_pg").get(pk=row.pk)
    assert given(found) == given(row)


def test_ranges(databases: Databases) -> None:
    databases.clean("central_pg")
    row = Ranges()
    feed = Feed().insert(row)
    layout, values = _last_record(feed)
    sent = {
        "integers": "[1,5)",
        "bigs": "empty",
        "decimals": "(,3.5]",
        "dates": "[2026-01-01,2026-02-01)",
        "datetimes": '["2026-01-01 00:00:00+00","2026-01-02 00:00:00+00")',
    }
    for name, text in sent.items():
        values[1 + layout.others.index(name)] = text
    feed = Feed().raw(1, layout, values)
    feed.applier("central_pg").apply([feed.batch()])
    found = Ranges.objects.using("central_pg").get()
    assert (found.integers.lower, found.integers.upper) == (1, 5)
    assert found.bigs.isempty
    assert (found.decimals.upper, found.decimals.bounds) == (Decimal("3.5"), "(]")
    assert found.dates.lower == date(2026, 1, 1)
    assert found.datetimes.upper == datetime(2026, 1, 2, tzinfo=UTC)
