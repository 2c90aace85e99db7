"""Rows with values: a few of every model that is captured, and the odd values of every type."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from itertools import zip_longest
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import models
from psycopg.types.range import Range

from sockstream.rows import describe, writing_order
from tests.zoo.models import Everything
from tests.zoo_pg.models import Arrays, Maps, Ranges

ROWS = 3
DAY = date(2024, 2, 29)
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=UTC)
FIXED = (ContentType, Permission)

# From the text types: what SQL, JSON and terminals stumble over, and a megabyte.
TEXTS = [
    "",
    " leading and trailing ",
    'it\'s "quoted" \\ `back` $1 %s %% {0} ?',
    "emoji \U0001f9a6\U0001f469‍\U0001f680 and ümläuts, 漢字, العربية",
    "combining é, line separators \u2028\u2029, a lone \ufeff",
    "".join(map(chr, [*range(1, 32), 127, 128, 159])),
    "null",
    "é😀x" * 350_000,
]

VALUES: dict[str, list[Any]] = {
    "small": [-32768, 32767, 0],
    "integer": [-2147483648, 2147483647, 0],
    "big": [-(2**63), 2**63 - 1, 2**53 + 1],
    "positive_small": [0, 32767],
    "positive": [0, 2147483647],
    "positive_big": [0, 2**63 - 1],
    "boolean": [True, False],
    "float": [0.1, -0.0, 1e308, 5e-324, 1.7976931348623157e308, 1 / 3, 1e16, -123456789.125],
    "decimal": [Decimal("12345678.9012"), Decimal("-0.0001"), Decimal(0), Decimal("1E+3")],
    "whole_decimal": [Decimal(123456789012), Decimal(-1)],
    # SQLite keeps a decimal as a float: 15 digits are what it gives back.
    "big_decimal": [Decimal("12345.6789012345"), Decimal("0.0000000001"), Decimal(10) ** 15],
    "char": [text[:200] for text in TEXTS],
    "text": TEXTS,
    "slug": ["a-slug"],
    "email": ["someone@example.com"],
    "url": ["https://example.com/?q=1&r=é"],
    "file": ["files/a b.txt", ""],
    "image": ["images/ä.png"],
    "path": ["./somewhere"],
    "ip": ["::1", "192.0.2.1", "2001:db8::ffff", "::ffff:192.0.2.1"],
    "ip_v4": ["255.255.255.255"],
    "unpacked_ip": ["::ffff:192.0.2.1"],
    "date": [date.min, date.max, DAY],
    "time": [time.min, time.max, time(12, 0), time(1, 2, 3, 4)],
    "datetime": [
        MOMENT,
        MOMENT.replace(microsecond=0),
        MOMENT.replace(microsecond=1),
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45))),
        datetime(1, 1, 2, tzinfo=UTC),
        datetime(9999, 12, 30, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    "duration": [
        timedelta(0),
        timedelta(microseconds=-1),
        timedelta(days=-10_000, hours=5),
        timedelta(days=100_000, microseconds=1),
    ],
    "uuid": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "json": [
        {},
        [],
        "text",
        "",
        0,
        -1.5,
        True,
        False,
        {"null": None, "nested": [{"a": [1, [2, [3]]]}, "ü", "😀", "\u0001"], "": {}},
        [2**53 + 1, 0.1, 'quote" back\\ slash/'],
        models.Value(None, models.JSONField()),
        "x" * 100_000,
    ],
    "binary": [b"", b"\x00", bytes(range(256)) * 500, b"\\x00"],
}
NOT_ON = {
    # MySQL's range begins later, and so does what Python's drivers read.
    "mysql": {
        "datetime": [VALUES["datetime"][4]],
        "date": [date.min],
        "float": [5e-324],
    },
}
# PostgreSQL alone has them.
FLOATS_ON_POSTGRESQL = [math.inf, -math.inf, math.nan]
BIG_DECIMALS_ON_POSTGRESQL = [Decimal("123456789012345678901234567890.0123456789")]


def odd_values(vendors: Iterable[str]) -> Iterator[Everything]:
    """Unsaved rows that have every odd value which the databases of all `vendors` can hold."""
    values = {name: list(choices) for name, choices in VALUES.items()}
    for vendor in vendors:
        for name, without in NOT_ON.get(vendor, {}).items():
            values[name] = [value for value in values[name] if value not in without]
    if set(vendors) == {"postgresql"}:
        values["float"] += FLOATS_ON_POSTGRESQL
        values["big_decimal"] += BIG_DECIMALS_ON_POSTGRESQL
    yield Everything()
    for row in zip_longest(*values.values()):
        yield Everything(**dict(zip(values, row, strict=True)))


def odd_values_of_postgresql() -> Iterator[models.Model]:
    """Unsaved rows with arrays, ranges and maps."""
    yield Arrays()
    yield Arrays(
        integers=[],
        texts=[],
        nested=[],
        short=[1, 2, 3],
    )
    yield Arrays(
        integers=[1, -(2**31), None],
        texts=["", "null", None, '"', "\\", "{,}", "😀\n"],
        decimals=[Decimal("1.5000"), Decimal("-0.0001")],
        floats=[0.1, math.inf, math.nan],
        booleans=[True, False],
        uuids=[uuid.UUID(int=5)],
        dates=[DAY],
        datetimes=[MOMENT, MOMENT.replace(microsecond=0)],
        durations=[timedelta(days=-1, microseconds=3)],
        binaries=[b"", b"\x00\xff"],
        objects_=[{"a": None}, [1, "x"], "text", 1],
        nested=[[1, 2], [3, 4]],
    )
    yield Ranges()
    yield Ranges(
        integers=Range(1, 5),
        bigs=Range(-(2**40), None),
        decimals=Range(Decimal("1.5"), Decimal("2.25"), "[]"),
        dates=Range(DAY, None),
        datetimes=Range(MOMENT, MOMENT + timedelta(days=1)),
    )
    yield Ranges(integers=Range(empty=True), decimals=Range(None, None))
    yield Maps()
    yield Maps(map={})
    yield Maps(map={"a": "1", "b": None, "": "", 'quote"': "back\\slash => 😀"})


def a_few_of_each(chosen: Iterable[type[models.Model]], using: str) -> None:
    """Save ROWS rows of each model, with references to each other, and fill the m2m tables."""
    kept = [model for model in chosen if not model._meta.auto_created]
    for row in writing_order([describe(model) for model in kept]):
        for number in range(1, ROWS + 1):
            _save(row.model, number, using)
    for model in kept:
        for m2m in model._meta.local_many_to_many:
            through: Any = m2m.remote_field.through
            if through._meta.auto_created:
                _connect(model, m2m, using)


def _connect(model: type[models.Model], m2m: Any, using: str) -> None:
    targets = list(m2m.related_model._default_manager.using(using).order_by("pk")[:ROWS])
    for each in model._base_manager.using(using).order_by("pk"):
        getattr(each, m2m.name).add(*targets)


def _save(model: type[models.Model], number: int, using: str) -> None:
    values = {f.name: _value(f, number, using) for f in _fields(model)}
    model(**values).save(using=using, force_insert=True)


def _fields(model: type[models.Model]) -> Iterator[Any]:
    for f in model._meta.concrete_fields:
        is_parent_link = f.remote_field and getattr(f.remote_field, "parent_link", False)
        automatic = isinstance(f, models.AutoField | models.CompositePrimaryKey)
        if not (is_parent_link or automatic or f.generated):
            yield f


def _value(f: Any, number: int, using: str) -> Any:
    if f.remote_field:
        return _target(f, number, using)
    if isinstance(f, models.UUIDField):
        return uuid.uuid4()
    if isinstance(f, models.CharField | models.TextField | models.FileField):
        # ASCII: databases differ in what the capital of anything else is.
        return f"{number} {f.name}"[: f.max_length]
    if isinstance(f, models.DecimalField):
        return Decimal(number).scaleb(-f.decimal_places) + number
    for kind, value in PLAIN:
        if isinstance(f, kind):
            return value(number)
    return f.get_default()


PLAIN: list[tuple[Any, Any]] = [
    (models.BooleanField, lambda number: number % 2 == 0),
    (models.IntegerField, lambda number: number),
    (models.FloatField, lambda number: number / 3),
    (models.DateTimeField, lambda number: MOMENT + timedelta(hours=number)),
    (models.DateField, lambda number: DAY + timedelta(days=number)),
    (models.TimeField, time),
    (models.DurationField, lambda number: timedelta(seconds=number)),
    (models.BinaryField, lambda number: bytes([number, 0, 255])),
    (models.JSONField, lambda number: {"number": number}),
    (models.GenericIPAddressField, lambda number: f"192.0.2.{number}"),
]


def _target(f: Any, number: int, using: str) -> Any:
    """Another of these for each number, as a reference that is unique wants it."""
    known = f.related_model._base_manager.using(using).order_by("pk")
    found = list(known[number - 1 : number])
    assert found or f.null, f"{f} finds no row to point to"
    return found[0] if found else None
