"""From wire values to the forms in which Django stores them on SQLite and MySQL: text and numbers.

Text that is no value of its kind is stored as it came: so it stood at the site.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any
from uuid import UUID

from sockstream.exceptions import Refusal
from sockstream.rows import Column, Kind

from .base import Encoder, Values

_DATETIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?")
_NOT_FINITE = re.compile(r"[+-]?(s?nan|inf|infinity)", re.IGNORECASE)
NOT_FINITE = "which is no finite number, so that central's database cannot store it"
_ENDLESS = re.compile(r"-?infinity|-?\d+ mons .*")
_LONGEST_VALUE = 60
_NESTED = frozenset({list, tuple, dict})
_NUMBERS = frozenset({int, float, bool})
_ON_CALENDARS = (Kind.DATE, Kind.TIME, Kind.DATETIME, Kind.INSTANT, Kind.JSON, Kind.UUID)
UUID_DIGITS = 32


def unfit(column: Column) -> frozenset[type]:
    """The types of wire values that are nothing to a column of this kind.

    A database might store them all the same: a number in a date, bytes in a text.
    """
    textual = column.type is not None and bool(_TEXTUAL.search(column.type.base))
    return _unfit(column.kind, textual=textual)


@functools.cache
def _unfit(kind: Kind, *, textual: bool) -> frozenset[type]:
    if kind is Kind.BINARY:
        return _NESTED | _NUMBERS | {str}
    takes_bytes = kind in (Kind.UUID, Kind.REFERENCE) or (kind is Kind.ANY and not textual)
    found = _NESTED if takes_bytes else _NESTED | {bytes}
    return found | _NUMBERS if kind in _ON_CALENDARS else found


# What SQLite takes for a type of texts.
_TEXTUAL = re.compile("char|clob|text")


def on_calendar(column: Column) -> Encoder:
    """Refuses texts that a database reads as a day or a time, and nobody else: "today", or both
    together, of which it would drop one."""
    lengths, form = _CALENDARS[column.kind]

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and not (
                (len(value) in lengths and "0" <= value[0] <= "9") or form.fullmatch(value)
            ):
                raise refusal(column, value)
        return values

    return encode


_ANY_LENGTH = range(4, 100)
_CALENDARS = {
    Kind.DATE: ({10}, re.compile(r"\d{4,}-\d\d-\d\d( BC)?|-?infinity")),
    Kind.TIME: ({8, 15}, re.compile(r"\d\d?\d?:\d\d(:\d\d(\.\d+)?)?|-\d+:\d\d:\d\d(\.\d+)?")),
    Kind.DATETIME: (_ANY_LENGTH, re.compile("-?infinity")),
    Kind.INSTANT: (_ANY_LENGTH, re.compile("-?infinity")),
}


def refusal(column: Column, value: Any, why: str = "") -> Refusal:
    """Central's column does not hold this value."""
    type_ = f" ({column.type.full})" if column.type is not None else ""
    reason = why or f"which is no value of central's column{type_}"
    words = f"The field {column.name!r} has {shown(value)}, {reason}"
    return Refusal("record-refused", words)


def shown(value: Any) -> str:
    """A value for people to read, not all of it if it is long."""
    text = repr(value[: _LONGEST_VALUE + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


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
    return [value.hex() if type(value) is bytes else _digits(value) for value in values]


def _digits(value: Any) -> Any:
    """A UUID that came as a text, in the form that Django looks for."""
    if type(value) is not str or len(value) <= UUID_DIGITS:
        return value
    try:
        return UUID(value).hex
    except ValueError:
        return value


def _without_nan(column: Column) -> Encoder:
    """Refuses "not a number", which these databases would make NULL."""

    def encode(values: Values) -> Values:
        for value in values:
            if value != value:  # noqa: PLR0124 -- what is not equal to itself is no number
                raise refusal(column, value, NOT_FINITE)
        return values

    return encode


def _decimals(column: Column) -> Encoder:
    """Refuses what is no number, which Django could not read, beside what `with_places` does."""
    check = with_places(column)

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and value[-1:] > "9" and _NOT_FINITE.fullmatch(value):
                raise refusal(column, value, NOT_FINITE)
        return check(values)

    return encode


def _durations(column: Column) -> Encoder:
    """Refuses what no number of microseconds can say."""

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and _ENDLESS.fullmatch(value):
                raise refusal(column, value, "which is no number of microseconds in 64 bits")
        return values

    return encode


def with_places(column: Column) -> Encoder:
    """Refuses decimals with more places than central keeps, which would be rounded in silence."""
    places = column.places
    if places is None:
        return _same_values

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and len(value) - (value.find(".") + 1 or len(value)) > places:
                _check_places(column, value, places)
        return values

    return encode


def _check_places(column: Column, value: str, places: int) -> None:
    whole, _, fraction = value.partition(".")
    if whole.lstrip("+-").isdigit() and fraction[max(places, 0) :].strip("0"):
        raise Refusal(
            "schema-mismatch",
            f"The field {column.name!r} has {shown(value)}, "
            f"but central keeps {places} decimal places",
            "Bring the models of both ends to the same version",
        )


def naive_only(column: Column) -> Encoder:
    """Refuses datetimes with a zone where central stores them without."""

    def encode(values: Values) -> Values:
        for value in values:
            if type(value) is str and value[-1:] == "Z" and _is_datetime(value[:-1]):
                raise _zones_differ(column, value)
        return values

    return encode


def _zones_differ(column: Column, value: str) -> Refusal:
    """One end has USE_TZ, the other one has not."""
    return Refusal(
        "schema-mismatch",
        f"The field {column.name!r} has a time zone at one end only: {value}",
        "Give USE_TZ the same value at both ends",
    )


def aware_only(column: Column, value: Any) -> Any:
    """`value`, if it is no datetime without a zone."""
    if type(value) is str and _is_datetime(value):
        raise _zones_differ(column, value)
    return value


def _is_datetime(value: str) -> bool:
    """Whether this is a moment, and not a text that only looks like one: a date of zeros."""
    if not _DATETIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


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


def _same_values(values: Values) -> Values:
    return values


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
    Kind.FLOAT: _without_nan,
    Kind.DECIMAL: _decimals,
    Kind.DURATION: _durations,
    Kind.DATETIME: naive_only,
}
