"""SQLite: one prepared statement, run for each row without leaving the process."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.utils import CursorWrapper

from .base import Values
from .portable import PortableStatements, execute_many


class SQLiteStatements(PortableStatements):
    """As the portable ones, but an insert that meets a row leaves it alone by itself."""

    def insert_sql(self) -> str:
        return f"{super().insert_sql()} ON CONFLICT ({', '.join(self.keys)}) DO NOTHING"

    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        return execute_many(cursor, self._insert, list(zip(*self.encoded(columns), strict=True)))
