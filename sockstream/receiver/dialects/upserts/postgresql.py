"""PostgreSQL: one statement for all rows of a batch, which go as one array a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import DatabaseError, DataError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.rows import Column, Kind

from .arrays import literal
from .base import Shape, Statements, Values

_NESTED = (Kind.ARRAY, Kind.HSTORE)
_AS_TEXT = (*_NESTED, Kind.RANGE)
_AT_ONCE = 20_000


class _Taken(Exception):
    """A value that the column takes: what was written is rolled back."""


class PostgreSQLStatements(Statements):
    """Joins the table with `unnest` of the arrays."""

    def __init__(self, shape: Shape, connection: BaseDatabaseWrapper) -> None:
        super().__init__(shape, connection)
        shape = self.shape
        sent = len(shape.keys) + len(shape.others)
        self._arrays = [
            _Array(number, column, sent=number < sent)
            for number, column in enumerate(shape.inserted)
        ]
        values = [array.value for array in self._arrays]
        same = " AND ".join(
            f"t.{key} = {value}" for key, value in zip(self.keys, values, strict=False)
        )
        changes = ", ".join(
            f"{name} = {value}"
            for name, value in zip(self.others, values[len(self.keys) :], strict=False)
        )
        keys = _unnest(self._arrays[: len(self.keys)])
        self._insert_new = (
            f"INSERT INTO {self.table} ({', '.join(self.inserted)}) "
            f"SELECT {', '.join(values)} FROM {_unnest(self._arrays)}"
        )
        self._insert = f"{self._insert_new} ON CONFLICT ({', '.join(self.keys)}) DO NOTHING"
        self._update = (
            f"UPDATE {self.table} AS t SET {changes} FROM {_unnest(self._arrays[:sent])} "
            f"WHERE {same}"
        )
        self._delete = f"DELETE FROM {self.table} AS t USING {keys} WHERE {same}"
        numbered = _unnest(self._arrays[: len(self.keys)], numbered=True)
        self._find = f"SELECT x.n, t.{self.wanted} FROM {numbered} JOIN {self.table} AS t ON {same}"
        alike = [
            _alike(column, f"t.{name}", value)
            for column, name, value in zip(
                shape.others, self.others, values[len(self.keys) :], strict=False
            )
        ]
        self._missing = (
            f"SELECT x.n FROM {_unnest(self._arrays[:sent], numbered=True)} WHERE NOT EXISTS "
            f"(SELECT FROM {self.table} AS t WHERE {' AND '.join([same, *alike])})"
        )
        self._holders = (
            f"SELECT {', '.join(f't.{name}' for name in self.others)} "
            f"FROM {_unnest(self._arrays[:sent])} JOIN {self.table} AS t ON {same} "
            f"AND NOT ({' AND '.join(alike) or 'TRUE'})"
        )

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        return self._execute(cursor, self._insert, columns)

    def insert_new(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        return self._execute(cursor, self._insert_new, columns)

    def update(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        return self._execute(cursor, self._update, columns)

    def delete(self, cursor: CursorWrapper, keys: Sequence[Values]) -> int:
        return self._execute(cursor, self._delete, keys)

    def find(self, cursor: CursorWrapper, keys: Sequence[Values]) -> list[Any]:
        found: list[Any] = [None] * len(keys[0])
        cursor.execute(self._find, self._encoded(keys))
        for number, value in cursor.fetchall():
            found[number - 1] = value
        return found

    def missing(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[int]:
        cursor.execute(self._missing, self._encoded(columns))
        return sorted(number - 1 for (number,) in cursor.fetchall())

    def holders(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[tuple[Any, ...]]:
        cursor.execute(self._holders, self._encoded(columns))
        return list(map(tuple, cursor.fetchall()))

    def at_fault(self, cursor: CursorWrapper, row: Sequence[Any]) -> int | None:
        """PostgreSQL says what it cannot take, and not where: so each value goes alone."""
        for number, (array, value) in enumerate(zip(self._arrays, row, strict=False)):
            insert = f"INSERT INTO {self.table} ({self.inserted[number]}) SELECT {array.value} "
            try:
                with transaction.atomic(using=cursor.db.alias):
                    cursor.execute(f"{insert} FROM {_unnest([array])}", [array.encode([value])])
                    raise _Taken
            except DataError:
                return number
            except (DatabaseError, _Taken):
                continue
        return None

    def _execute(self, cursor: CursorWrapper, sql: str, columns: Sequence[Values]) -> int:
        met = 0
        for start in range(0, len(columns[0]), _AT_ONCE):
            part = [values[start : start + _AT_ONCE] for values in columns]
            cursor.execute(sql, self._encoded(part))
            met += cursor.rowcount
        return met

    def _encoded(self, columns: Sequence[Values]) -> list[Any]:
        return [array.encode(values) for array, values in zip(self._arrays, columns, strict=False)]


class _Array:
    """How one column goes to the server: its array's type, and what is taken from it.

    A column that is not sent has values that psycopg knows how to pass. An array of arrays can't
    be unnested one level deep, so such values go as texts.
    """

    def __init__(self, number: int, column: Column, *, sent: bool) -> None:
        type_, listed = (
            ("text", True) if column.type is None else (column.type.name, column.type.listed)
        )
        as_text = column.kind in (_AS_TEXT if sent else _NESTED) or not listed
        self.name = f"c{number}"
        self.mark = f"%s::{'text' if as_text else type_}[]"
        self.value = f"x.{self.name}::{type_}" if as_text else f"x.{self.name}"
        self.encode: Callable[[Values], Any] = literal(column) if sent or as_text else list


def _alike(column: Column, stored: str, value: str) -> str:
    """Whether two values are equal, or both NULL. A type that we don't know may not say so."""
    if column.kind is Kind.RAW or (column.type is not None and column.type.base == "json"):
        stored, value = f"{stored}::text", f"({value})::text"
    return f"{stored} IS NOT DISTINCT FROM {value}"


def _unnest(arrays: Sequence[_Array], *, numbered: bool = False) -> str:
    marks = ", ".join(array.mark for array in arrays)
    names = ", ".join([array.name for array in arrays] + ["n"] * numbered)
    return f"unnest({marks}){' WITH ORDINALITY' * numbered} AS x({names})"
