"""What makes a wire value of a captured one, kind by kind.

A converter gets what the JSON held, never None, and never raises: a value that does not parse as
its kind travels as it is, as a text. Where the database writes the wire form already, there is no
converter.
"""

from __future__ import annotations

import json
import struct
from binascii import unhexlify
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_date, parse_datetime, parse_duration, parse_time

from sockstream.rows import Kind

Converter = Callable[[Any], Any]
ColumnConverter = Callable[[Sequence[Any]], Sequence[Any]]
"""Converts many values, which may be None."""

_INT64 = range(-(1 << 63), 1 << 63)
_UUID_BYTES = 16
_UUID_DIGITS = 2 * _UUID_BYTES
_HYPHENS = (8, 13, 18, 23)
_CANONICAL_TIME = 8
_CANONICAL_DATE = 10
_UNREADABLE = (ValueError, TypeError, OverflowError)
_INTERVAL = struct.Struct(">qii")
_ENDLESS = {
    (2**63 - 1, 2**31 - 1, 2**31 - 1): "infinity",
    (-(2**63), -(2**31), -(2**31)): "-infinity",
}
_INFINITE = {"Inf", "-Inf"}
_DOUBLE = struct.Struct(">d")
_MICROSECOND = timedelta(microseconds=1)
_SECOND = 1_000_000
_DAY = timedelta(days=1) // _MICROSECOND
_SQLITE_DIGITS = Context(prec=15)
_ALL_DIGITS = Context(prec=2000)


def converter(column: Mapping[str, Any], definition: Mapping[str, Any]) -> Converter | None:
    """The converter of one column of a layout's definition; None if none is needed."""
    kind, vendor = column["kind"], definition["vendor"]
    if kind == Kind.REFERENCE:
        return _reference(column, definition)
    if kind == Kind.ARRAY:
        return _array(column, definition)
    if kind == Kind.INSTANT:
        return _instant_in(definition["zone"])
    if vendor == "sqlite" and kind in _SQLITE:
        return _SQLITE[kind]
    if kind == Kind.DECIMAL:
        return _sqlite_decimal(column["places"]) if vendor == "sqlite" else _text
    return (_POSTGRESQL if vendor == "postgresql" else _ELSEWHERE).get(kind)


def of_column(convert: Converter) -> ColumnConverter:
    """The same for many values at once."""
    if convert is _uuid:
        return _uuids
    if convert is _as_is:
        return _texts

    def convert_all(values: Sequence[Any]) -> Sequence[Any]:
        return [None if value is None else convert(value) for value in values]

    return convert_all


def _uuids(values: Sequence[Any]) -> Sequence[Any]:
    try:
        if (digits := _digits(values)) is not None:
            return struct.unpack(f"{_UUID_BYTES}s" * len(values), unhexlify(digits))
    except (ValueError, TypeError):
        pass
    return [None if value is None else _uuid(value) for value in values]


def _texts(values: Sequence[Any]) -> Sequence[Any]:
    if list not in set(map(type, values)):
        return values
    return [None if value is None else _as_is(value) for value in values]


def _digits(values: Sequence[str]) -> str | None:
    """What UUIDs are written with, if all of them are in one of the two usual forms."""
    text = "".join(values)
    lengths = set(map(len, values))
    if lengths == {_UUID_DIGITS}:
        return text
    whole, hyphens = _UUID_DIGITS + len(_HYPHENS), "-" * len(values)
    if lengths != {whole} or any(text[place::whole] != hyphens for place in _HYPHENS):
        return None
    digits = text.replace("-", "")
    return digits if len(digits) == _UUID_DIGITS * len(values) else None


def _text(value: Any) -> Any:
    """A value that is none of its kind: a text, or a blob of SQLite's, an array of its hex."""
    if type(value) is list and len(value) == 1 and type(value[0]) is str:
        with suppress(ValueError):
            return unhexlify(value[0])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_is(value: Any) -> Any:
    """What SQLite holds, if JSON has it; a blob is an array of its hex."""
    return _text(value) if type(value) is list else value


def _blob_or_text(value: Any) -> Any:
    """SQLite's blobs, in hex; a text among them stands in an array."""
    return str(value[0]) if type(value) is list and len(value) == 1 else _binary(value)


def _real(value: Any) -> Any:
    """SQLite's reals. Python reads numbers in texts that SQLite leaves as they are."""
    if type(value) is str and not value[-1:].isdigit() and value not in _INFINITE:
        return value
    return value if type(value) is str and "_" in value else _float(value)


def _any(value: Any) -> Any:
    """What SQLite holds, by the letter in front of it: a number that is whole has none."""
    if type(value) is int:
        return _int(value)
    try:
        return _OF_LETTER[value[:1]](value[1:])
    except (KeyError, *_UNREADABLE):
        return _text(value)


def _int(value: Any) -> Any:
    return value if type(value) is int and value in _INT64 else _text(value)


def _bool(value: Any) -> Any:
    return bool(value) if value in (0, 1) else _text(value)


def _float(value: Any) -> Any:
    try:
        return float(value)
    except _UNREADABLE:
        return _text(value)


def _double(value: Any) -> Any:
    """The eight bytes of PostgreSQL's float8send, in hex: exact, whatever extra_float_digits is."""
    try:
        return _DOUBLE.unpack(unhexlify(value))[0]
    except (ValueError, TypeError, struct.error):
        return _text(value)


def _binary(value: Any) -> Any:
    try:
        return unhexlify(value)
    except (ValueError, TypeError):
        return _text(value)


def _uuid(value: Any) -> Any:
    try:
        found = unhexlify(value.replace("-", ""))
    except (ValueError, AttributeError):
        return _text(value)
    return found if len(found) == _UUID_BYTES else value


def _date(value: Any) -> Any:
    if type(value) is str and len(value) == _CANONICAL_DATE:
        return value
    return _parsed(value, parse_date)


def _time(value: Any) -> Any:
    if type(value) is str and len(value) == _CANONICAL_TIME:
        return value
    return _parsed(value, parse_time)


def _parsed(value: Any, parse: Callable[[str], Any]) -> Any:
    try:
        found = parse(value)
    except (ValueError, TypeError):
        found = None
    return _text(value) if found is None else found.isoformat()


def _datetime(value: Any) -> Any:
    found = _read_datetime(value)
    if found is None or found.tzinfo is not None:
        return _text(value)
    return found.isoformat(" ")


def _instant_in(name: str) -> Converter:
    """Texts without an offset are in the database's time zone, which mostly is UTC."""
    zone: tzinfo = UTC if name == "UTC" else ZoneInfo(name)

    def convert(value: Any) -> Any:
        found = _read_datetime(value)
        if found is None:
            return _text(value)
        if found.tzinfo is None and zone is UTC:
            return found.isoformat(" ") + "Z"
        try:
            instant = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
        except OverflowError:
            return value
        return instant.replace(tzinfo=None).isoformat(" ") + "Z"

    return convert


def _read_datetime(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(value)
    except (ValueError, TypeError):
        try:
            return parse_datetime(value)
        except (ValueError, TypeError):
            return None


def _sqlite_decimal(places: int | None) -> Converter:
    """As Django reads it: SQLite holds a float, of which 15 digits mean something."""
    step = None if places is None else Decimal(1).scaleb(-places)

    def convert(value: Any) -> Any:
        try:
            if type(value) is int:
                return f"{value}.{'0' * places}" if places else str(value)
            number = float(value)
            if places:
                # Mostly there are no more digits than places, and nothing is to be rounded.
                whole, _, fraction = f"{number:.15g}".partition(".")
                if len(fraction) <= places and whole.lstrip("-").isdigit():
                    return f"{whole}.{fraction:0<{places}}"
            return _rounded(number, step)
        except (InvalidOperation, *_UNREADABLE):
            return _text(value)

    return convert


def _rounded(number: float, step: Decimal | None) -> str:
    exact = _SQLITE_DIGITS.create_decimal_from_float(number)
    if step is not None:
        exact = exact.quantize(step, context=_ALL_DIGITS)
    return format(exact, "f")


def _interval(value: Any) -> Any:
    """PostgreSQL's interval_send, in hex. A month is 30 days and a year 365, as psycopg has it.

    One that is no number of microseconds travels as the text that PostgreSQL reads.
    """
    try:
        parts = _INTERVAL.unpack(unhexlify(value))
    except (ValueError, TypeError, struct.error):
        return _text(value)
    if parts in _ENDLESS:
        return _ENDLESS[parts]
    micros, days, months = parts
    years, rest = divmod(abs(months), 12)
    sign = -1 if months < 0 else 1
    found = micros + (days + sign * (years * 365 + rest * 30)) * _DAY
    if found in _INT64:
        return found
    seconds, fraction = divmod(abs(micros), _SECOND)
    before = "-" if micros < 0 else ""
    return f"{months} mons {days} days {before}{seconds}.{fraction:06d} secs"


def _reference(column: Mapping[str, Any], definition: Mapping[str, Any]) -> Converter | None:
    """A key of one part is that part itself, a longer one a list."""
    parts = [converter(part, definition) for part in column["parts"]]
    if len(parts) == 1:
        return parts[0]

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return _text(value)
        return [
            part if part is None or change is None else change(part)
            for part, change in zip(value, parts, strict=False)
        ]

    return convert


def _array(column: Mapping[str, Any], definition: Mapping[str, Any]) -> Converter | None:
    base = column["base"]
    postgresql = definition["vendor"] == "postgresql"
    change = (_ELEMENTS.get(base["kind"]) if postgresql else None) or converter(base, definition)
    if change is None:
        return None

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [None if item is None else convert(item) for item in value]
        return change(value)

    return convert


def _element_binary(value: Any) -> Any:
    r"""The text form of a bytea, as the capture function asks for it: \x and hex."""
    return _binary(value[2:]) if isinstance(value, str) and value[:2] == "\\x" else _text(value)


def _element_duration(value: Any) -> Any:
    try:
        found = parse_duration(value)
    except TypeError:
        found = None
    return _text(value) if found is None else found // _MICROSECOND


_SQLITE: dict[str, Converter] = {
    **dict.fromkeys((Kind.TEXT, Kind.INT, Kind.JSON), _as_is),
    Kind.BINARY: _blob_or_text,
    Kind.FLOAT: _real,
}
_OF_LETTER: dict[str, Converter] = {"r": float, "b": unhexlify, "t": str}
_ELSEWHERE: dict[str, Converter] = {
    Kind.BOOL: _bool,
    Kind.FLOAT: _float,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.DATETIME: _datetime,
    Kind.DURATION: _int,
    Kind.UUID: _uuid,
    Kind.BINARY: _binary,
    Kind.RAW: _text,
    Kind.ANY: _any,
}
_POSTGRESQL: dict[str, Converter] = {
    Kind.FLOAT: _double,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.DATETIME: _datetime,
    Kind.DURATION: _interval,
    Kind.UUID: _uuid,
    Kind.BINARY: _binary,
    Kind.RAW: _text,
}
_ELEMENTS: dict[str, Converter] = {
    Kind.FLOAT: _float,
    Kind.BINARY: _element_binary,
    Kind.DURATION: _element_duration,
}
