"""SQLite: one prepared statement, run for each row without leaving the process."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from django.db.backends.utils import CursorWrapper

from sockstream.rows import Kind

from .base import Values
from .portable import PortableStatements, execute_many


class SQLiteStatements(PortableStatements):
    """As the portable ones, but an insert that meets a row leaves it alone by itself."""

    def insert_sql(self) -> str:
        return f"{super().insert_sql()} ON CONFLICT ({', '.join(self.keys)}) DO NOTHING"

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        rows = list(zip(*self.encoded(columns), strict=True))
        if self.shape.keys[0].kind is Kind.UUID:
            # In the order of the index: a page that many rows go to is written once.
            rows.sort(key=itemgetter(0))
        return execute_many(cursor, self._insert, rows)
