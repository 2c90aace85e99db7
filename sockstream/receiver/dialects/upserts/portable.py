"""Statements that any database understands: one a row, sent together by the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.rows import Column, Kind

from . import forms
from .base import Shape, Statements, Values

AT_ONCE = 500
_ALTERNATIVES = 200


class PortableStatements(Statements):
    """Looks which rows are there, and inserts the others; for MySQL and MariaDB."""

    alike = "<=>"
    """The operator of two values that are equal, or both NULL."""

    def __init__(self, shape: Shape, connection: BaseDatabaseWrapper) -> None:
        super().__init__(shape, connection)
        self._sent = self.shape.keys + self.shape.others
        self._encoders = [forms.encoder(column, connection.timezone) for column in self._sent]
        self._width = len(self._sent)
        self._unfit = [self.unfit(column) for column in self._sent]
        self._where = " AND ".join(f"{name} = %s" for name in self.keys)
        self._insert = self.insert_sql()
        self._update = (
            f"UPDATE {self.table} SET {', '.join(f'{name} = %s' for name in self.others)} "
            f"WHERE {self._where}"
        )
        self._delete = f"DELETE FROM {self.table} WHERE {self._where}"

    def insert_sql(self) -> str:
        """The insert of one row."""
        marks = ", ".join(["%s"] * len(self.inserted))
        return f"INSERT INTO {self.table} ({', '.join(self.inserted)}) VALUES ({marks})"

    def unfit(self, column: Column) -> frozenset[type]:
        """The types of values that are looked at before the database gets them."""
        return forms.unfit(column)

    def judge(self, column: Column, value: Any) -> None:
        """Raises Refusal for a value of such a type, if it may not be stored."""
        raise forms.refusal(column, value)

    def encoded(self, columns: Sequence[Values]) -> list[Values]:
        """The columns in the database's form. Those that are not sent have it already."""
        known = [
            self.stored(number, values) for number, values in enumerate(columns[: self._width])
        ]
        return known + list(columns[len(known) :])

    def stored(self, number: int, values: Values) -> Values:
        unfit = self._unfit[number]
        if not unfit.isdisjoint(map(type, values)):
            for value in values:
                if type(value) in unfit:
                    self.judge(self._sent[number], value)
        encode = self._encoders[number]
        return encode(values) if encode else values

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        found = self.find(cursor, columns[: len(self.keys)])
        rows = zip(*self.encoded(columns), strict=True)
        missing = [row for row, there in zip(rows, found, strict=True) if there is None]
        return self.run_many(cursor, self._insert, missing)

    def update(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        width = len(self.keys)
        encoded = self.encoded(columns)
        rows = list(zip(*encoded[width:], *encoded[:width], strict=True))
        return self.run_many(cursor, self._update, rows)

    def delete(self, cursor: CursorWrapper, keys: Sequence[Values]) -> int:
        return self.run_many(cursor, self._delete, list(zip(*self.encoded(keys), strict=True)))

    def run_many(self, cursor: CursorWrapper, sql: str, rows: list[Any]) -> int:
        """Execute `sql` for each row; returns the number of rows that it met."""
        return execute_many(cursor, sql, rows)

    def find(self, cursor: CursorWrapper, keys: Sequence[Values]) -> list[Any]:
        encoded = self.encoded(keys)
        if len(self.keys) == 1 and self.shape.keys[0].kind in _COMPARED:
            return self._find_together(cursor, encoded[0])
        sql = f"SELECT {self.wanted} FROM {self.table} WHERE {self._where}"
        found: list[Any] = []
        for key in zip(*encoded, strict=True):
            cursor.execute(sql, key)
            row = cursor.fetchone()
            found.append(row[0] if row else None)
        return found

    def missing(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[int]:
        same = " AND ".join(f"{name} {self.alike} %s" for name in self.others)
        where = f"{self._where} AND {same}" if same else self._where
        sql = f"SELECT 1 FROM {self.table} WHERE {where}"
        absent: list[int] = []
        for at, row in enumerate(zip(*self.encoded(columns), strict=True)):
            cursor.execute(sql, row)
            if cursor.fetchone() is None:
                absent.append(at)
        return absent

    def holders(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[tuple[Any, ...]]:
        itself = " AND ".join(f"{name} = %s" for name in self.others)
        one = f"({self._where} AND NOT ({itself}))"
        select = f"SELECT {', '.join(self.others)} FROM {self.table} WHERE "
        rows = list(zip(*self.encoded(columns), strict=True))
        at_once = min(_ALTERNATIVES, most_rows(cursor, len(columns)))
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            values = [value for row in part for value in row]
            cursor.execute(select + " OR ".join([one] * len(part)), values)
            found += map(tuple, cursor.fetchall())
        return found

    def _find_together(self, cursor: CursorWrapper, keys: Values) -> list[Any]:
        key = self.keys[0]
        select = f"SELECT {key}, {self.wanted} FROM {self.table} WHERE {key} IN "
        comparable = _COMPARED[self.shape.keys[0].kind]
        found: dict[Any, Any] = {}
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            cursor.execute(f"{select}({', '.join(['%s'] * len(part))})", part)
            found.update((comparable(name), value) for name, value in cursor.fetchall())
        return [found.get(comparable(name)) for name in keys]


# Kinds whose stored form can be compared in Python. Text can't: a collation may ignore its case.
_COMPARED: dict[Kind, Callable[[Any], Any]] = {
    Kind.INT: lambda value: value,
    Kind.UUID: lambda value: str(value).replace("-", ""),
}


def execute_many(cursor: CursorWrapper, sql: str, rows: list[Any]) -> int:
    """Execute `sql` for each row; returns the number of rows that it met."""
    if not rows:
        return 0
    cursor.executemany(sql, rows)
    return int(cursor.rowcount)


def most_rows(cursor: CursorWrapper, width: int) -> int:
    """How many rows of so many values one statement may be given."""
    most = cursor.db.features.max_query_params
    return max(most // width, 1) if most else AT_ONCE
