"""Columns of wire values as PostgreSQL array literals.

A batch goes to the server as one array a column. The literals are made by a few calls on whole
columns instead of one adapter call a value, which is what psycopg's own lists cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sockstream.exceptions import Refusal
from sockstream.rows import Column, Kind

from . import forms
from .base import Values

Literal = Callable[[Values], str]

_SEPARATOR = "\x00s"
_NULL = "\x00n"
_DAY = 86_400_000_000
_SECOND = 1_000_000


def literal(column: Column) -> Literal:
    """What turns this column's wire values into one array literal."""
    if column.kind in _PLAIN:
        return _plain(_PLAIN[column.kind])
    if column.kind in _CHECKS:
        return _checked(_CHECKS[column.kind](column))
    return _each(value_text(column))


def value_text(column: Column) -> Callable[[Any], str] | None:
    """What turns one value into the text that PostgreSQL reads; None if it is text already."""
    make = _TEXTS.get(column.kind)
    return make(column) if make else None


def _plain(expected: type) -> Literal:
    """Values whose Python text needs no quotes; others (raw text) get them."""
    fitting = {expected, type(None)}

    def encode(values: Values) -> str:
        if not set(map(type, values)) <= fitting:
            return joined([None if value is None else str(value) for value in values])
        return "{" + ",".join(map(str, values)).replace("None", "NULL") + "}"

    return encode


def _each(text: Callable[[Any], str] | None) -> Literal:
    if text is None:
        return joined

    def encode(values: Values) -> str:
        return joined([None if value is None else text(value) for value in values])

    return encode


def _checked(check: Callable[[Values], Values]) -> Literal:
    return lambda values: joined(check(values))


def _aware(column: Column) -> Callable[[Values], Values]:
    def check(values: Values) -> Values:
        for value in values:
            if value is not None and value[-1:] != "Z":
                forms.aware_only(column, value)
        return values

    return check


def joined(texts: Sequence[str | None]) -> str:
    """Texts as an array literal.

    Quotes and backslashes are escaped in all of them at once. NUL, which PostgreSQL's text can't
    hold, marks the borders meanwhile.
    """
    marked = [_NULL if text is None else text for text in texts]
    whole = _SEPARATOR.join(marked)
    if whole.count("\x00") != len(marked) - 1 + texts.count(None):
        raise Refusal("record-refused", "A text holds the character NUL, which PostgreSQL refuses")
    if "\\" in whole:
        whole = whole.replace("\\", "\\\\")
    if '"' in whole:
        whole = whole.replace('"', '\\"')
    quoted = '{"' + whole.replace(_SEPARATOR, '","') + '"}'
    return quoted.replace(f'"{_NULL}"', "NULL")


def _hexadecimal(prefix: str) -> Callable[[Any], str]:
    return lambda value: prefix + value.hex() if type(value) is bytes else value


def _interval(value: Any) -> str:
    if type(value) is not int:
        return str(value)
    days, rest = divmod(value, _DAY)
    return f"{days} days {rest // _SECOND}.{rest % _SECOND:06d} seconds"


def _array(column: Column) -> Callable[[Any], str]:
    base = column.base
    text = (value_text(base) if base is not None else None) or str

    def encode(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return str(value)
        return "{" + ",".join(map(item, value)) + "}"

    def item(value: Any) -> str:
        if value is None:
            return "NULL"
        if base is not None and base.kind is Kind.ARRAY:
            return text(value)
        return _quoted(text(value))

    return encode


def _hstore(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return ",".join(
        f"{_quoted(key)}=>{'NULL' if item is None else _quoted(item)}"
        for key, item in value.items()
    )


def _quoted(value: Any) -> str:
    """Raw text, or a value of another type than the column's, whose text PostgreSQL may refuse."""
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_PLAIN: dict[Kind, type] = {
    Kind.INT: int,
    Kind.REFERENCE: int,
    Kind.BOOL: bool,
    Kind.FLOAT: float,
}
_CHECKS: dict[Kind, Callable[[Column], Callable[[Values], Values]]] = {
    Kind.DECIMAL: forms.with_places,
    Kind.DATETIME: forms.naive_only,
    Kind.INSTANT: _aware,
}
_TEXTS: dict[Kind, Callable[[Column], Callable[[Any], str]]] = {
    Kind.UUID: lambda column: _hexadecimal(""),
    Kind.BINARY: lambda column: _hexadecimal("\\x"),
    Kind.DURATION: lambda column: _interval,
    Kind.ARRAY: _array,
    Kind.HSTORE: lambda column: _hstore,
    Kind.RAW: lambda column: str,
    **dict.fromkeys(_PLAIN, lambda column: str),
}
