"""From wire values to the forms in which Django stores them on SQLite and MySQL: text and numbers.

Text that is no value of its kind is stored as it came: so it stood at the site.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from sockstream.exceptions import Refusal
from sockstream.rows import Column, Kind

from .base import Encoder, Values

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?")


def encoder(column: Column, zone: tzinfo | None) -> Encoder | None:
    """What turns this column's wire values into stored ones; None if they are the same.

    `zone` is what the database's datetimes are in.
    """
    if column.kind is Kind.INSTANT:
        return _instants(column, zone)
    make = _MAKERS.get(column.kind)
    return make(column) if make else None


def _bools(values: Values) -> Values:
    return [int(value) if type(value) is bool else value for value in values]


def _uuids(values: Values) -> Values:
    return [value.hex() if type(value) is bytes else value for value in values]


def without_nan(column: Column) -> Encoder:
    """Refuses "not a number", which these databases would make NULL."""

    def encode(values: Values) -> Values:
        for value in values:
            if value != value:  # noqa: PLR0124 -- what is not equal to itself is no number
                raise Refusal(
                    "record-refused",
                    f"The field {column.name!r} has a float that is no number (NaN), "
                    "which central's database cannot store",
                )
        return values

    return encode


def with_places(column: Column) -> Encoder:
    """Refuses decimals with more places than central keeps, which would be rounded in silence."""
    places = column.places or 0

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and len(value) - (value.find(".") + 1 or len(value)) > places:
                _check_places(column, value, places)
        return values

    return encode


def _check_places(column: Column, value: str, places: int) -> None:
    whole, _, fraction = value.partition(".")
    if whole.lstrip("+-").isdigit() and fraction[places:].strip("0"):
        raise Refusal(
            "schema-mismatch",
            f"The field {column.name!r} has {value}, but central keeps {places} decimal places",
            "Bring the models of both ends to the same version",
        )


def naive_only(column: Column) -> Encoder:
    """Refuses datetimes with a zone where central stores them without."""

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and value[-1:] == "Z" and _DATETIME.fullmatch(value[:-1]):
                raise zones_differ(column)
        return values

    return encode


def zones_differ(column: Column) -> Refusal:
    """One end has USE_TZ, the other one has not."""
    return Refusal(
        "schema-mismatch",
        f"The field {column.name!r} has a time zone at one end only",
        "Give USE_TZ the same value at both ends",
    )


def aware_only(column: Column, value: Any) -> Any:
    """`value`, if it is no datetime without a zone."""
    if type(value) is str and _DATETIME.fullmatch(value):
        raise zones_differ(column)
    return value


def _instants(column: Column, zone: tzinfo | None) -> Encoder:
    local = _same if zone is None or zone is UTC else _into(zone)

    def encode(values: Values) -> Values:
        return [
            local(value[:-1])
            if type(value) is str and value[-1:] == "Z"
            else aware_only(column, value)
            for value in values
        ]

    return encode


def _same(value: str) -> str:
    return value


def _into(zone: tzinfo) -> Callable[[str], str]:
    def convert(value: str) -> str:
        try:
            moment = datetime.fromisoformat(value).replace(tzinfo=UTC)
        except ValueError:
            return value + "Z"
        return str(moment.astimezone(zone).replace(tzinfo=None))

    return convert


_MAKERS: dict[Kind, Callable[[Column], Encoder]] = {
    Kind.BOOL: lambda column: _bools,
    Kind.UUID: lambda column: _uuids,
    Kind.FLOAT: without_nan,
    Kind.DECIMAL: with_places,
    Kind.DATETIME: naive_only,
}
