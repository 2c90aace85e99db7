"""SQLite: one prepared statement, run for each row without leaving the process."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from django.db.backends.utils import CursorWrapper

from sockstream.rows import Column, Kind

from .base import Values
from .portable import PortableStatements, execute_many, most_rows

_AT_ONCE = 500
_LARGEST = 1 << 63
_NESTED = frozenset({list, tuple, dict})


class SQLiteStatements(PortableStatements):
    """As the portable ones, but an insert that meets a row leaves it alone by itself."""

    alike = "IS"

    def unfit(self, column: Column) -> frozenset[type]:
        """What stood in a column of a type of Django's own at the site may stand here."""
        return _NESTED if column.type is None else super().unfit(column)

    def at_fault(self, cursor: CursorWrapper, row: Sequence[Any]) -> int | None:
        too_large = (type(v) is int and not -_LARGEST <= v < _LARGEST for v in row)
        return next((number for number, is_so in enumerate(too_large) if is_so), None)

    def insert_sql(self) -> str:
        return f"{super().insert_sql()} ON CONFLICT ({', '.join(self.keys)}) DO NOTHING"

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        rows = list(zip(*self.encoded(columns), strict=True))
        if self.shape.keys[0].kind is Kind.UUID:
            # In the order of the index: a page that many rows go to is written once.
            rows.sort(key=itemgetter(0))
        return execute_many(cursor, self._insert, rows)

    def find(self, cursor: CursorWrapper, keys: Sequence[Values]) -> list[Any]:
        width = len(self.keys)
        names = [f"k{number}" for number in range(width)]
        pairs = zip(self.keys, names, strict=True)
        same = " AND ".join(f"t.{key} = x.{name}" for key, name in pairs)
        # A cross join keeps this order: each of the given rows is looked up in the table's index.
        select = f"SELECT x.n, t.{self.wanted} FROM x CROSS JOIN {self.table} AS t ON {same}"
        rows = list(zip(*self.encoded(keys), strict=True))
        found: list[Any] = [None] * len(rows)
        at_once = min(_AT_ONCE, most_rows(cursor, width))
        for start in range(0, len(rows), at_once):
            part = rows[start : start + at_once]
            marks = ", ".join(f"({start + n}{', %s' * width})" for n in range(len(part)))
            given = f"WITH x (n, {', '.join(names)}) AS (VALUES {marks}) "
            cursor.execute(given + select, [value for row in part for value in row])
            for number, value in cursor.fetchall():
                found[number] = value
        return found
