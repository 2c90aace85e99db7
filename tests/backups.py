"""Backups of a whole database, restored while the tests' connections live on."""

from __future__ import annotations

import sqlite3
import weakref
from contextlib import closing
from typing import Any

from django.db import connections


class SQLiteBackup:
    """A copy in memory, by SQLite's own online backup."""

    def __init__(self, using: str) -> None:
        self._using = using
        # It is closed in whichever thread the last reference to the backup goes.
        self._copy = sqlite3.connect(":memory:", check_same_thread=False)
        weakref.finalize(self, self._copy.close)
        connections[using].ensure_connection()
        connections[using].connection.backup(self._copy)

    def restore(self) -> None:
        """Make the database what it was."""
        connections[self._using].close()
        path = connections[self._using].settings_dict["NAME"]
        with closing(sqlite3.connect(path)) as database:
            self._copy.backup(database)


class RowsBackup:
    """Every row of every table; the schema stays. Sequences do, too: ids of ours may jump."""

    def __init__(self, using: str) -> None:
        self._connection = connections[using]
        with self._connection.cursor() as cursor:
            tables = self._connection.introspection.table_names(cursor)
            # What triggers capture meanwhile goes with what was captured before.
            self._tables = sorted(tables, key=lambda table: table.startswith("sockstream"))
            self._rows: dict[str, Any] = {}
            for table in self._tables:
                columns = ", ".join(self._columns(cursor, table))
                cursor.execute(f"SELECT {columns} FROM {self._quoted(table)}")
                self._rows[table] = cursor.fetchall()

    def restore(self) -> None:
        """Make the database what it was."""
        off, on = _UNCHECKED[self._connection.vendor]
        with self._connection.cursor() as cursor:
            cursor.execute(off)
            try:
                for table in self._tables:
                    cursor.execute(f"DELETE FROM {self._quoted(table)}")
                    self._fill(cursor, table)
            finally:
                cursor.execute(on)

    def _fill(self, cursor: Any, table: str) -> None:
        columns = self._columns(cursor, table)
        values = f"({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"
        if self._connection.vendor == "postgresql":
            values = values.replace(" VALUES", " OVERRIDING SYSTEM VALUE VALUES")
        cursor.executemany(f"INSERT INTO {self._quoted(table)} {values}", self._rows[table])

    def _quoted(self, name: str) -> str:
        return str(self._connection.ops.quote_name(name))

    def _columns(self, cursor: Any, table: str) -> list[str]:
        cursor.execute(_COLUMNS[self._connection.vendor], [table])
        return [self._quoted(name) for (name,) in cursor.fetchall()]


_UNCHECKED = {
    "postgresql": (
        "SET session_replication_role = replica",
        "SET session_replication_role = DEFAULT",
    ),
    "mysql": ("SET foreign_key_checks = 0", "SET foreign_key_checks = 1"),
}
_COLUMNS = {
    "postgresql": "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
    "AND table_schema = current_schema() AND is_generated = 'NEVER' ORDER BY ordinal_position",
    "mysql": "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND "
    "table_schema = DATABASE() AND COALESCE(generation_expression, '') = '' "
    "ORDER BY ordinal_position",
}


def backup(using: str) -> SQLiteBackup | RowsBackup:
    """A backup of the database as it is now."""
    sqlite = connections[using].vendor == "sqlite"
    return SQLiteBackup(using) if sqlite else RowsBackup(using)
