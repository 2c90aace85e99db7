"""Columns of wire values as PostgreSQL array literals.

A batch goes to the server as one array a column. The literals are made by a few calls on whole
columns instead of one adapter call a value, which is what psycopg's own lists cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sockstream.exceptions import Refusal
from sockstream.rows import Column, Kind

from . import forms
from .base import Values

Literal = Callable[[Values], str]


class _Nul(Refusal):
    """A text that PostgreSQL cannot hold."""

    def __init__(self) -> None:
        words = "A text holds the character NUL, which PostgreSQL refuses"
        super().__init__("record-refused", words)


_SEPARATOR = "\x00s"
_NULL = "\x00n"
_DAY = 86_400_000_000
_SECOND = 1_000_000
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?")


def literal(column: Column) -> Literal:
    """What turns this column's wire values into one array literal."""
    if column.kind in _PLAIN:
        encode = _plain(_PLAIN[column.kind])
    elif column.kind in _CHECKS:
        encode = _checked(_CHECKS[column.kind](column))
    else:
        encode = _each(value_text(column))

    def named(values: Values) -> str:
        try:
            return encode(values)
        except (TypeError, _Nul):
            raise _refusal(column, values) from None

    return named


def _refusal(column: Column, values: Values) -> Refusal:
    """Names the value that cannot be written."""
    misfits = forms.unfit(column)
    for value in values:
        if type(value) is str and "\x00" in value:
            why = "with the character NUL, which PostgreSQL refuses"
            return forms.refusal(column, value, why)
        if type(value) in misfits or (
            column.kind in _PLAIN and type(value) is str and not _NUMBER.fullmatch(value)
        ):
            return forms.refusal(column, value)
    odd = [value for value in values if value is not None and type(value) is not str]
    return forms.refusal(column, odd[0] if odd else values)


def value_text(column: Column) -> Callable[[Any], str] | None:
    """What turns one value into the text that PostgreSQL reads; None if it is text already."""
    make = _TEXTS.get(column.kind)
    return make(column) if make else None


def _plain(expected: type) -> Literal:
    """Values whose Python text needs no quotes; others (raw text) get them."""
    fitting = {expected, type(None)}

    def encode(values: Values) -> str:
        if not set(map(type, values)) <= fitting:
            return joined([None if value is None else _plain_text(value) for value in values])
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
    calendar = forms.on_calendar(column)

    def check(values: Values) -> Values:
        for value in values:
            if value is not None and value[-1:] != "Z":
                calendar([forms.aware_only(column, value)])
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
        raise _Nul
    if "\\" in whole:
        whole = whole.replace("\\", "\\\\")
    if '"' in whole:
        whole = whole.replace('"', '\\"')
    quoted = '{"' + whole.replace(_SEPARATOR, '","') + '"}'
    return quoted.replace(f'"{_NULL}"', "NULL")


def _plain_text(value: Any) -> str:
    """A text where a number is meant: PostgreSQL would take words and other notations for one."""
    if type(value) is str and not _NUMBER.fullmatch(value):
        raise TypeError
    return _text(value)


def _both(
    first: Callable[[Column], Callable[[Values], Values]],
    second: Callable[[Column], Callable[[Values], Values]],
) -> Callable[[Column], Callable[[Values], Values]]:
    def of(column: Column) -> Callable[[Values], Values]:
        one, other = first(column), second(column)
        return lambda values: other(one(values))

    return of


def _text(value: Any) -> str:
    """Raw text, or a value of another type than the column's, whose text PostgreSQL may refuse."""
    if type(value) is bytes:
        raise TypeError
    return str(value)


def _raw(value: Any) -> str:
    return "\\x" + value.hex() if type(value) is bytes else str(value)


def _uuid(value: Any) -> Any:
    return value.hex() if type(value) is bytes else value


def _bytea(value: Any) -> str:
    if type(value) is not bytes:
        raise TypeError
    return "\\x" + value.hex()


def _interval(value: Any) -> str:
    if type(value) is not int:
        return _text(value)
    days, rest = divmod(value, _DAY)
    return f"{days} days {rest // _SECOND}.{rest % _SECOND:06d} seconds"


def _array(column: Column) -> Callable[[Any], str]:
    base = column.base
    text = (value_text(base) if base is not None else None) or _text
    check = _CHECKS[base.kind](base) if base is not None and base.kind in _CHECKS else None

    def encode(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return _text(value)
        if check is not None:
            check(value)
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
        return _text(value)
    return ",".join(
        f"{_quoted(key)}=>{'NULL' if item is None else _quoted(item)}"
        for key, item in value.items()
    )


def _quoted(value: Any) -> str:
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
    Kind.DATE: forms.on_calendar,
    Kind.TIME: forms.on_calendar,
    Kind.DATETIME: _both(forms.naive_only, forms.on_calendar),
    Kind.INSTANT: _aware,
}
_TEXTS: dict[Kind, Callable[[Column], Callable[[Any], str]]] = {
    Kind.UUID: lambda column: _uuid,
    Kind.BINARY: lambda column: _bytea,
    Kind.DURATION: lambda column: _interval,
    Kind.ARRAY: _array,
    Kind.HSTORE: lambda column: _hstore,
    Kind.RAW: lambda column: _raw,
    **dict.fromkeys(_PLAIN, lambda column: _text),
}
