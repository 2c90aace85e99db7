"""Columns of other types than their classes have: each value arrives as it was, or is named."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections, models
from django.db.models import ExpressionWrapper, F
from django.test import override_settings
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.exceptions import SockstreamError
from sockstream.receiver.applying.applier import Applier, Stopped
from sockstream.receiver.models import Parked
from sockstream.sender.capture import installing
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.integration.applier.feed import Feed
from tests.typed.models import Held, Named, Numbered, Pointing, Rowids, Typed
from tests.zoo.models import Everything, Seat

ALL = {**PAIRS, "pg-maria": Pair("site_pg", "central_maria")}
every_pair = pytest.mark.parametrize("pair", ALL.values(), ids=ALL, indirect=True)
NUMBERS = {"free", "days", "seconds"}
LAST = datetime(2038, 1, 1, tzinfo=UTC)
plain = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "fixed": plain.map(str.rstrip),
    "collated": plain,
    "running": st.integers(-(2**31), 2**31 - 1),
    "seconds": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=0)
    ),
    "days": st.dates(date(1, 1, 1), date(9999, 12, 31)),
    "hyphenated": st.uuids(),
    "packed": st.uuids(),
    "sealed": st.text(max_size=60),
    "free": st.decimals(-(10**8), 10**8, places=5).map(lambda number: number.normalize()),
    "short": st.integers(-3_999, 3_999).map(lambda number: number / 4),  # MariaDB shows six digits
    "flag": st.booleans(),
    "stamp": st.datetimes(datetime(1971, 1, 1), LAST.replace(tzinfo=None), timezones=st.just(UTC)),  # noqa: DTZ001
    "year": st.integers(1901, 2155),
    "size": st.integers(0, 2**63 - 1),
}


@pytest.fixture
def typed(pair: Pair) -> Iterator[Pair]:
    """A pair whose site captures the models of tests.typed, too."""
    with capturing(pair):
        yield pair


class capturing(override_settings):
    """Capture the models of tests.typed at a site."""

    def __init__(self, pair: Pair, **more: Any) -> None:
        super().__init__(SOCKSTREAM={"MODELS": [*ours().MODELS, "typed"], **more})
        self._site = pair.site

    def enable(self) -> None:
        super().enable()
        installing.install(self._site)

    def disable(self) -> None:
        super().disable()
        installing.install(self._site)


class Line:
    """What brings the captured rows of a site to central, without a link."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._applier: Applier = Feed().applier(pair.central)
        self._seq = 0

    def bring(self) -> None:
        for _ in Sequencer(self.pair.site, Settings()).steps():
            pass
        while batches := list(store.read(self._seq + 1, self.pair.site, 10)):
            self._seq = batches[-1].last_seq
            self._applier.apply(batches)


@pytest.fixture
def line(typed: Pair) -> Line:
    return Line(typed)


def raw(model: type[models.Model], using: str) -> list[tuple[Any, ...]]:
    """The rows as the database itself shows them."""
    connection = connections[using]
    form = {"sqlite": "quote({})", "postgresql": "{}::text", "mysql": "HEX(CONCAT({}))"}
    columns = []
    for field in model._meta.concrete_fields:
        name = connection.ops.quote_name(str(field.column))
        if connection.vendor == "mysql" and isinstance(field, models.FloatField):
            columns.append(f"{name} + 0e0")
        else:
            columns.append(form[connection.vendor].format(name))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {model._meta.db_table} ORDER BY 1")
        return list(cursor.fetchall())


def read(model: type[models.Model], using: str) -> list[dict[str, Any]]:
    """The rows as Django reads them; numbers that it could not read everywhere as they are."""
    fields = {field.attname for field in model._meta.concrete_fields}
    rows = model._base_manager.using(using).order_by("pk")
    found = list(rows.values(*fields - NUMBERS))
    for name in fields & NUMBERS:
        plain = rows.values_list(ExpressionWrapper(F(name), models.Field()), flat=True)
        for row, value in zip(found, plain, strict=True):
            row[name] = None if value is None else Decimal(str(value))
    found.sort(key=lambda row: row["id"])
    return [{name: _comparable(value) for name, value in row.items()} for row in found]


def _comparable(value: Any) -> Any:
    """Without what a type adds: the blanks behind a padded text, digits beyond four bytes, UTC."""
    if isinstance(value, str):
        return value.rstrip(" ")
    if isinstance(value, float):
        return struct.pack("f", value)
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def same(model: type[models.Model], pair: Pair) -> bool:
    """Whether central has the site's rows: to the byte, if both databases are of one kind."""
    alike = len({connections[using].vendor for using in (pair.site, pair.central)}) == 1
    if alike:
        return raw(model, pair.central) == raw(model, pair.site) != []
    assert read(model, pair.central) == read(model, pair.site) != []
    return True


@every_pair
def test_fields_of_ones_own(line: Line) -> None:
    pair = line.pair

    # Each example is some transactions: to shrink one takes minutes.
    @settings(max_examples=20, deadline=None, phases=[Phase.generate], database=None)
    @given(st.lists(st.fixed_dictionaries({}, optional=VALUES), min_size=1, max_size=5))
    def arrive(rows: list[dict[str, Any]]) -> None:
        Typed.objects.using(pair.site).all().delete()
        for row in rows:
            Typed.objects.using(pair.site).create(**row)
        line.bring()
        assert same(Typed, pair)

    arrive()


@every_pair
def test_keys_of_ones_own(line: Line) -> None:
    site = line.pair.site
    named, numbered = Named.objects.using(site).create(), Numbered.objects.using(site).create()
    Pointing.objects.using(site).create(named=named, numbered=numbered)
    line.bring()
    central = line.pair.central
    found = Pointing.objects.using(central).select_related("named", "numbered").get()
    assert (found.named, found.numbered.token) == (named, numbered.token)
    Named.objects.using(site).update(number=7)
    line.bring()
    assert Named.objects.using(central).get(pk=named.pk).number == 7
    Pointing.objects.using(site).all().delete()
    named.delete()
    numbered.delete()
    line.bring()
    assert not Named.objects.using(central).exists()
    assert not Numbered.objects.using(central).exists()


def only(name: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("pair", [ALL[name]], ids=[name], indirect=True)


@only("sqlite-sqlite")
@pytest.mark.parametrize("column", ["loose", "text"])
@pytest.mark.parametrize(
    "value",
    [
        *("NULL", "'text'", "''", "'t'", "'é'", "x''", "x'00ff'", "x'4dfc'", "7", "-1.5", "1e999"),
        *("9223372036854775807", "0.1", "'b00'", "'[\"00\"]'"),
    ],
)
def test_what_sqlite_holds_arrives_as_it_is(value: str, column: str, line: Line) -> None:
    with connections[line.pair.site].cursor() as cursor:
        cursor.execute(f"INSERT INTO typed_held (id, {column}) VALUES ('{'0' * 32}', {value})")
    line.bring()
    assert same(Held, line.pair)


@only("sqlite-sqlite")
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO typed_held (id, slot) VALUES ('{other}', NULL)",
        "UPDATE OR REPLACE typed_held SET slot = NULL WHERE id = '{other}'",
    ],
)
def test_a_default_that_replaces_a_row(statement: str, line: Line) -> None:
    """A REPLACE gives a column that may not be NULL its default, which somebody may have."""
    site, other = line.pair.site, uuid.UUID(int=2).hex
    Held.objects.using(site).create()
    if statement.startswith("UPDATE"):
        Held.objects.using(site).create(id=other, slot="back")
    line.bring()
    with connections[site].cursor() as cursor:
        cursor.execute(statement.format(other=other))
    assert Held.objects.using(site).get().id.hex == other
    line.bring()
    assert same(Held, line.pair)


# What central cannot hold is named.


@pytest.fixture
def parking(pair: Pair) -> Iterator[Line]:
    with capturing(pair, ON_ERROR="park"):
        yield Line(pair)


def refused(line: Line, *words: str) -> None:
    """One row of the site is parked, with all that a person has to know."""
    line.bring()
    [error] = Parked.objects.using(line.pair.central).values_list("error", flat=True)
    for word in words:
        assert word in error


@only("sqlite-pg")
@pytest.mark.parametrize(
    ("change", "field", "shown"),
    [
        ("running = 'heavy'", "running", "'heavy'"),
        ("fixed = 'much too long'", "fixed", "'much too long'"),
        ("collated = 'longer than ten'", "collated", "'longer than ten'"),
        ("running = 2147483648", "running", "2147483648"),
        ("stamp = '0000-00-00 00:00:00'", "stamp", "'0000-00-00 00:00:00'"),
        ("seconds = x'ff'", "seconds", "b'\\xff'"),
        ("hyphenated = x'ff'", "hyphenated", "b'\\xff'"),
        ("sealed = 'open'", "sealed", "'open'"),
        ("short = 'x'", "short", "'x'"),
    ],
)
def test_a_value_that_central_cannot_hold_is_named(
    change: str, field: str, shown: str, parking: Line
) -> None:
    row = Typed.objects.using(parking.pair.site).create()
    other = Typed.objects.using(parking.pair.site).create()
    with connections[parking.pair.site].cursor() as cursor:
        cursor.execute(f"UPDATE typed_typed SET {change} WHERE id = '{row.id.hex}'")
    refused(parking, "typed.typed", str(row.id), f"'{field}'", shown)
    assert Typed.objects.using(parking.pair.central).filter(pk=other.pk).exists()


NOT_NUMBERS = [
    ("decimal", "NaN"),
    ("duration", "infinity"),
    ("duration", "-infinity"),
    ("duration", "-300000 years 1.5 seconds"),
]


@only("pg-sqlite")
@pytest.mark.parametrize(("column", "value"), NOT_NUMBERS)
def test_what_is_no_number_is_named(column: str, value: str, parking: Line) -> None:
    row = Everything.objects.using(parking.pair.site).create()
    with connections[parking.pair.site].cursor() as cursor:
        cursor.execute(f"UPDATE zoo_everything SET {column} = '{value}'")
    refused(parking, "zoo.everything", str(row.pk), f"'{column}'")


@only("pg-pg")
@pytest.mark.parametrize(("column", "value"), NOT_NUMBERS)
def test_what_is_no_number_arrives_where_it_can(column: str, value: str, line: Line) -> None:
    Everything.objects.using(line.pair.site).create()
    with connections[line.pair.site].cursor() as cursor:
        cursor.execute(f"UPDATE zoo_everything SET {column} = '{value}'")
    line.bring()
    assert same(Everything, line.pair)


@only("sqlite-sqlite")
def test_a_table_whose_columns_are_named_as_its_numbers(line: Line) -> None:
    rows = Rowids.objects.using(line.pair.site)
    # To an integer column, the second key would be the same number as the third.
    keys = [uuid.UUID(f"{key:0>32}") for key in ("1", "1e02", "100")]
    seconds = (1, 22, 333)
    one, other, third = (
        rows.create(second=n, pk=key) for n, key in zip(seconds, keys, strict=True)
    )
    line.bring()
    statements = [
        f"UPDATE typed_rowids SET rowid = 5 WHERE id = '{one.pk.hex}'",
        f"REPLACE INTO typed_rowids VALUES ('{one.pk.hex}', 6, 22, 6)",  # in the way of two
        f"UPDATE typed_rowids SET id = '{other.pk.hex}' WHERE id = '{third.pk.hex}'",
        f"UPDATE OR REPLACE typed_rowids SET _rowid_ = 22 WHERE id = '{other.pk.hex}'",
        "DELETE FROM typed_rowids",
        f"INSERT OR IGNORE INTO typed_rowids VALUES ('{one.pk.hex}', 1, 1, 1)",
        f"INSERT OR IGNORE INTO typed_rowids VALUES ('{other.pk.hex}', 1, 1, 1)",
    ]
    for statement in statements:
        with connections[line.pair.site].cursor() as cursor:
            cursor.execute(statement)
        line.bring()
        assert raw(Rowids, line.pair.central) == raw(Rowids, line.pair.site)
    assert rows.get().pk == one.pk


def test_a_table_whose_rows_nothing_tells_apart(databases: Databases) -> None:
    databases.clean("site_sqlite")
    table, names = Seat._meta.db_table, ("rowid", "_rowid_", "oid")
    with connections["site_sqlite"].cursor() as cursor:
        for name in names:
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {name} integer")
        try:
            with pytest.raises(SockstreamError, match=f"{table} has columns named rowid") as caught:
                installing.install("site_sqlite")
        finally:
            for name in names:
                cursor.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
    assert caught.value.code == "capture-impossible"


@only("sqlite-pg")
@pytest.mark.parametrize("value", [r'"half a pair: \ud800"', r'"\u0000"', "{1}"])
def test_json_that_central_does_not_read_is_named(value: str, parking: Line) -> None:
    row = Everything.objects.using(parking.pair.site).create()
    with connections[parking.pair.site].cursor() as cursor:
        # The constraint that Django gives to the column is of the site's own.
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute("UPDATE zoo_everything SET json = %s", [value])
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    refused(parking, "zoo.everything", str(row.pk), "'json'", repr(value)[1:-1])


@only("maria-sqlite")
def test_a_number_beyond_64_bits_is_named(parking: Line) -> None:
    with connections[parking.pair.site].cursor() as cursor:
        cursor.execute(
            "INSERT INTO typed_typed (id, running, size) VALUES (UUID(), 0, 18446744073709551615)"
        )
    refused(parking, "typed.typed", "'size'", "18446744073709551615")


@only("maria-maria")
def test_what_mariadb_alone_has(line: Line) -> None:
    """A year of zeros, a number without a sign, a date of zeros, a time zone of its own."""
    with connections[line.pair.site].cursor() as cursor:
        cursor.execute("SET time_zone = '+05:45', sql_mode = ''")
        cursor.execute(
            "INSERT INTO typed_typed (id, running, year, size, stamp, short) VALUES "
            "(UUID(), 0, 0, 18446744073709551615, '0000-00-00', 1234567.75), "
            "(UUID(), 0, 2155, 0, '2024-06-01 12:00:00.25', 12345.678)"
        )
    connections[line.pair.site].close()
    line.bring()
    assert raw(Typed, line.pair.central) == raw(Typed, line.pair.site)


@only("pg-pg")
def test_types_that_cut_when_they_are_cast(line: Line) -> None:
    """Domains, bits and padded texts in arrays; a site's longer value is refused, never cut."""
    ends = [connections[line.pair.site], connections[line.pair.central]]
    for connection in ends:
        with connection.cursor() as cursor:
            cursor.execute("CREATE DOMAIN tag AS varchar(5)")
            cursor.execute("ALTER TABLE typed_typed ALTER collated TYPE tag")
            cursor.execute("ALTER TABLE typed_typed ALTER fixed TYPE bit(3) USING NULL")
    try:
        with connections[line.pair.site].cursor() as cursor:
            installing.install(line.pair.site)
            cursor.execute(
                "INSERT INTO typed_typed (id, running, collated, fixed) "
                "VALUES (gen_random_uuid(), 0, 'short', '101')"
            )
        connections[line.pair.central].close()
        line.bring()
        assert same(Typed, line.pair)
        with connections[line.pair.central].cursor() as cursor:
            cursor.execute("ALTER DOMAIN tag RENAME TO tags")
            cursor.execute("CREATE DOMAIN tag AS varchar(4)")
            cursor.execute("DELETE FROM typed_typed")
            cursor.execute("ALTER TABLE typed_typed ALTER collated TYPE tag")
        connections[line.pair.central].close()
        with connections[line.pair.site].cursor() as cursor:
            cursor.execute("UPDATE typed_typed SET id = gen_random_uuid()")
        with pytest.raises(Stopped, match="'collated' has 'short'"):
            line.bring()
    finally:
        for connection in ends:
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM typed_typed")
                cursor.execute("ALTER TABLE typed_typed ALTER collated TYPE varchar(10)")
                cursor.execute("ALTER TABLE typed_typed ALTER fixed TYPE char(8) USING NULL")
                cursor.execute("DROP DOMAIN tag")
                cursor.execute("DROP DOMAIN IF EXISTS tags")


@pytest.mark.parametrize(
    "pair", [ALL["sqlite-pg"], ALL["sqlite-maria"]], ids=["pg", "maria"], indirect=True
)
def test_what_a_database_would_read_as_something_else_is_named(parking: Line) -> None:
    odd = {
        "positive_big": "1.5",
        "integer": "x'20'",
        "date": "'2024-02-29 10:00'",
        "time": "'2024-02-29 10:00'",
        "boolean": "'t'",
        "binary": "'text'",
        "text": "x'7465'",
    }
    with connections[parking.pair.site].cursor() as cursor:
        for number, (column, value) in enumerate(odd.items(), 1):
            key = uuid.UUID(int=number).hex
            cursor.execute(
                f"INSERT INTO zoo_everything (id, \"{column}\") VALUES ('{key}', {value})"
            )
    parking.bring()
    errors = Parked.objects.using(parking.pair.central).order_by("seq").values_list("error")
    for column, (error,) in zip(odd, errors, strict=True):
        assert f"'{column}'" in error
