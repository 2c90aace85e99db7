"""Fields of somebody's own, whose columns are of other types than Django gives to their classes.

Captured only where a test says so.
"""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from typing import Any

from django.db import models

EPOCH = date(1970, 1, 1)


def column(**types: str) -> Any:
    """A `db_type` that gives these types by vendor, `other` where none is named."""

    def db_type(self: Any, connection: Any) -> str:
        return types.get(connection.vendor, types["other"])

    return db_type


class Fixed(models.CharField):  # type: ignore[type-arg]
    """A text that is padded."""

    db_type = column(other="char(8)")


class Collated(models.CharField):  # type: ignore[type-arg]
    """What db_type gives is a definition, no type."""

    db_type = column(postgresql='varchar(10) COLLATE "C"', other="varchar(10)")


class Running(models.IntegerField):  # type: ignore[type-arg]
    """A number that PostgreSQL counts by itself."""

    db_type = column(postgresql="serial", other="integer")


class Seconds(models.DateTimeField):  # type: ignore[type-arg]
    """A moment as a number of seconds."""

    db_type = column(other="bigint")

    def from_db_value(self, value: Any, *_: object) -> Any:
        return None if value is None else datetime.fromtimestamp(value, UTC)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else int(value.timestamp())


class Days(models.DateField):  # type: ignore[type-arg]
    """A day as a number of days."""

    db_type = column(other="integer")

    def from_db_value(self, value: Any, *_: object) -> Any:
        return None if value is None else date.fromordinal(EPOCH.toordinal() + value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else value.toordinal() - EPOCH.toordinal()


class Hyphenated(models.UUIDField):  # type: ignore[type-arg]
    """A UUID as people write it."""

    db_type = column(other="char(36)")

    def from_db_value(self, value: Any, *_: object) -> Any:
        return self.to_python(value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else str(self.to_python(value))


class Packed(models.UUIDField):  # type: ignore[type-arg]
    """A UUID as its bytes."""

    db_type = column(postgresql="bytea", mysql="binary(16)", other="blob")

    def get_internal_type(self) -> str:
        return "BinaryField"

    def from_db_value(self, value: Any, *_: object) -> Any:
        return None if value is None else uuid.UUID(bytes=bytes(value))

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else self.to_python(value).bytes


class Sealed(models.TextField):  # type: ignore[type-arg]
    """A text as bytes that nobody can read."""

    db_type = column(postgresql="bytea", mysql="varbinary(300)", other="blob")

    def from_db_value(self, value: Any, *_: object) -> Any:
        return None if value is None else bytes(byte ^ 0xFF for byte in bytes(value)).decode()

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else bytes(byte ^ 0xFF for byte in value.encode())


class Free(models.DecimalField):  # type: ignore[type-arg]
    """A decimal without a limit of digits, as Django has it from 6.1 on; older ones do not read it
    everywhere."""

    db_type = column(mysql="decimal(40, 15)", postgresql="numeric", other="decimal")

    def check(self, **kwargs: Any) -> list[Any]:
        return []


class Loose(models.Field):  # type: ignore[type-arg]
    """A class that nobody knows; SQLite holds in it what it is given."""

    db_type = column(other="blob", postgresql="jsonb")


class Short(models.FloatField):  # type: ignore[type-arg]
    """A float of four bytes."""

    db_type = column(other="real", mysql="float")


class Flag(models.BooleanField):  # type: ignore[type-arg]
    """A bit where there are any."""

    db_type = column(mysql="bit(1)", postgresql="bool", other="bool")

    def from_db_value(self, value: Any, *_: object) -> Any:
        return value == b"\x01" if isinstance(value, bytes) else value


class Stamp(models.DateTimeField):  # type: ignore[type-arg]
    """A moment in a TIMESTAMP where there is one."""

    db_type = column(mysql="timestamp(6) NULL", postgresql="timestamp", other="datetime")


class Year(models.IntegerField):  # type: ignore[type-arg]
    """A year, of which MySQL has one more."""

    db_type = column(mysql="year", other="integer")


class Unsigned(models.BigIntegerField):  # type: ignore[type-arg]
    """A number that has no sign where there is such a type."""

    db_type = column(mysql="bigint unsigned", other="bigint")


class Typed(models.Model):
    """One of each."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    fixed = Fixed(max_length=8, null=True)
    collated = Collated(max_length=10, null=True)
    running = Running(default=0)
    seconds = Seconds(null=True)
    days = Days(null=True)
    hyphenated = Hyphenated(null=True)
    packed = Packed(null=True)
    sealed = Sealed(null=True)
    free = Free(max_digits=None, decimal_places=None, null=True)
    short = Short(null=True)
    flag = Flag(null=True)
    stamp = Stamp(null=True)
    year = Year(null=True)
    size = Unsigned(null=True)


class Named(models.Model):
    """A key in a column of its own type."""

    id = Hyphenated(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField(default=0)


class Numbered(models.Model):
    """A key of bytes beside a number."""

    token = Packed(unique=True, default=uuid.uuid4)


class Pointing(models.Model):
    """Points to rows by both."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    named: models.ForeignKey[Any, Any] = models.ForeignKey(
        Named, on_delete=models.CASCADE, null=True
    )
    numbered: models.ForeignKey[Any, Any] = models.ForeignKey(
        Numbered, on_delete=models.CASCADE, null=True
    )


class Held(models.Model):
    """Whatever SQLite holds, in columns of several affinities."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    loose = Loose(null=True)
    text = models.TextField(null=True)
    slot = models.TextField(unique=True, db_default="front")


class Rowids(models.Model):
    """All names that SQLite has for the number of a row are taken."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    first = models.IntegerField(db_column="rowid", default=0)
    second = models.IntegerField(db_column="_rowid_", null=True, unique=True)
    third = models.IntegerField(db_column="oid", default=0)
