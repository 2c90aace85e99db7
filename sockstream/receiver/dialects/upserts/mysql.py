"""MySQL and MariaDB: INSERT IGNORE would hide other errors too, so the portable way it is.

Three things are their own. A collation may take different texts for the same key, so a key is
compared here, character by character, and never by the collation alone. The server hangs up on a
statement that is larger than `max_allowed_packet`, without a reason that anybody could read. And
the drivers write a list as a list of SQL, and refuse a float that is not finite: PyMySQL does so
with an error that is none of Django's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from django.db import IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.exceptions import Refusal
from sockstream.rows import Column, Kind

from .base import Shape, Values
from .forms import NOT_FINITE, on_calendar, refusal
from .portable import AT_ONCE, PortableStatements, execute_many

# Statements below are smaller than any server's limit, so it is not asked for.
_SMALL = 200_000
# Bytes: of a value's quotes and comma, of a number, and the most that a character becomes.
_AROUND, _WIDEST = 40, 4
_WHOLE = re.compile(r"[+-]?\d+")
_ESCAPED = b"\0\n\r\x1a\"'\\"


class MySQLStatements(PortableStatements):
    """Statements that fit into a packet, for the rows that have exactly these keys."""

    def __init__(self, shape: Shape, connection: BaseDatabaseWrapper) -> None:
        super().__init__(shape, connection)
        self._calendars = [
            on_calendar(column) if column.kind in (Kind.DATE, Kind.TIME) else None
            for column in self._sent
        ]
        self._texts = [n for n, column in enumerate(self.shape.keys) if column.kind is Kind.TEXT]
        wanted = ", ".join([*self.keys, self.wanted])
        self._alike = f"SELECT {wanted} FROM {self.table} WHERE {self._where}"

    def unfit(self, column: Column) -> frozenset[type]:
        found = super().unfit(column) | {float}
        return found | {str} if column.kind in (Kind.INT, Kind.BOOL) else found

    def judge(self, column: Column, value: Any) -> None:
        """MySQL would round a number that is written as a text."""
        if isinstance(value, float):
            if not isfinite(value):
                raise refusal(column, value, NOT_FINITE)
        elif not (isinstance(value, str) and _WHOLE.fullmatch(value)) or column.kind not in (
            Kind.INT,
            Kind.BOOL,
        ):
            super().judge(column, value)

    def stored(self, number: int, values: Values) -> Values:
        check = self._calendars[number]
        return super().stored(number, check(values) if check else values)

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        try:
            return super().insert(cursor, columns)
        except IntegrityError as error:
            self._refuse_folded(cursor, columns[: len(self.keys)], error)
            raise

    def update(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        return super().update(cursor, self._there(cursor, columns))

    def delete(self, cursor: CursorWrapper, keys: Sequence[Values]) -> int:
        return super().delete(cursor, self._there(cursor, keys))

    def find(self, cursor: CursorWrapper, keys: Sequence[Values]) -> list[Any]:
        if not self._texts:
            return super().find(cursor, keys)
        if len(self.keys) == 1:
            return self._find_texts(cursor, self.encoded(keys)[0])
        return [self._find_one(cursor, key) for key in zip(*self.encoded(keys), strict=True)]

    def run_many(self, cursor: CursorWrapper, sql: str, rows: list[Any]) -> int:
        return sum(execute_many(cursor, sql, part) for part in self._fitting(cursor, sql, rows))

    def _find_texts(self, cursor: CursorWrapper, keys: Values) -> list[Any]:
        [key] = self.keys
        select = f"SELECT {key}, {self.wanted} FROM {self.table} WHERE {key} IN "
        found: dict[Any, Any] = {}
        for start in range(0, len(keys), AT_ONCE):
            part = keys[start : start + AT_ONCE]
            cursor.execute(f"{select}({', '.join(['%s'] * len(part))})", part)
            found.update(cursor.fetchall())
        return [found.get(text) for text in keys]

    def _find_one(self, cursor: CursorWrapper, key: Sequence[Any]) -> Any:
        cursor.execute(self._alike, key)
        rows = [row for row in cursor.fetchall() if not self._is_folded(row, key)]
        return rows[0][-1] if rows else None

    def _is_folded(self, row: Sequence[Any], key: Sequence[Any]) -> bool:
        return any(row[number] != key[number] for number in self._texts)

    def _there(self, cursor: CursorWrapper, columns: Sequence[Values]) -> Sequence[Values]:
        """Those of the rows, given by columns, whose key the table has as it is here."""
        if not self._texts:
            return columns
        found = self.find(cursor, columns[: len(self.keys)])
        there = [number for number, value in enumerate(found) if value is not None]
        return [[values[number] for number in there] for values in columns]

    def _refuse_folded(
        self, cursor: CursorWrapper, keys: Sequence[Values], error: IntegrityError
    ) -> None:
        """Raises Refusal if a row is in the way whose key is another text."""
        for key in zip(*self.encoded(keys), strict=True) if self._texts else ():
            cursor.execute(self._alike, key)
            for row in cursor.fetchall():
                if self._is_folded(row, key):
                    raise _folded(self.shape, row, cursor.db) from error

    def _fitting(self, cursor: CursorWrapper, sql: str, rows: list[Any]) -> Iterator[list[Any]]:
        """The rows, so many at a time that a statement of them fits. Raises Refusal for one that
        does not."""
        sizes = [_at_most(row) for row in rows]
        if sum(sizes) < _SMALL:
            yield rows
            return
        most = max_packet(cursor) - len(sql.encode()) - _AROUND
        part: list[Any] = []
        room = most
        for row, at_most in zip(rows, sizes, strict=True):
            size = at_most if at_most <= most else _exactly(row)
            if size > most:
                raise too_large(size, most)
            if size > room:
                yield part
                part, room = [], most
            part.append(row)
            room -= size
        yield part


def max_packet(cursor: CursorWrapper) -> int:
    """The largest statement that this session's server accepts, in bytes."""
    cursor.execute("SELECT @@max_allowed_packet")
    return int(cursor.fetchone()[0])


def too_large(size: int, most: int) -> Refusal:
    """A row that no statement can hold. It cannot be parked either."""
    return Refusal(
        "record-too-large",
        f"The row takes {size:,} bytes in a statement, and central's database accepts {most:,}",
        "Raise max_allowed_packet at central's database, and restart oplog_receive",
    )


def _at_most(row: Sequence[Any]) -> int:
    texts = sum(len(value) for value in row if isinstance(value, str | bytes))
    return _WIDEST * texts + _AROUND * len(row)


def _exactly(row: Sequence[Any]) -> int:
    """The bytes of the values as drivers write them into a statement: bytes may become digits."""
    size = _AROUND * len(row)
    for value in row:
        if isinstance(value, str):
            data = value.encode()
            size += len(data) + sum(data.count(byte) for byte in _ESCAPED)
        elif isinstance(value, bytes):
            size += 2 * len(value)
    return size


def _folded(shape: Shape, row: Sequence[Any], connection: Any) -> Refusal:
    collation = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
    names = ", ".join(column.column for column in shape.keys if column.kind is Kind.TEXT)
    taken = ", ".join(map(str, row[: len(shape.keys)]))
    return Refusal(
        "record-refused",
        f"To central's collation its key is that of another row, {taken!r}",
        f"Give {shape.table}.{names} the collation {collation} at central",
    )
