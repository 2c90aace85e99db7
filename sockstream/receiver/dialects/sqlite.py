"""SQLite: one writer, which runs in our process. It tells of broken foreign keys at the COMMIT."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.databases import origin

from .base import Dialect
from .upserts.sqlite import SQLiteStatements

_FULL = 2
# In KiB, and in pages: SQLite's own, and ours. Keys come in no order, so that a transaction touches
# pages all over a large table: with its own 2 MiB, each is written and read again before the
# commit, and with its own checkpoints once more after it.
_WIDER = {"cache_size": (-2_000, -65_536), "wal_autocheckpoint": (1_000, 50_000)}
_ADD_HELD = (
    "INSERT INTO {0} (holding, generation, name, key) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (holding, name) DO UPDATE SET generation = excluded.generation "
    "WHERE {0}.generation <> excluded.generation"
)
_EFFECTS = (
    "SELECT 1 FROM sqlite_master WHERE type = 'trigger' "
    "AND substr(name, 1, 11) <> %s AND lower(tbl_name) = lower(%s) "
    "UNION ALL SELECT 1 FROM sqlite_master m, pragma_foreign_key_list(m.name) f "
    "WHERE m.type = 'table' AND lower(f.\"table\") IN (lower(%s), lower(%s)) "
    "AND f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT')"
)


class SQLite(Dialect):
    """SQLite, in a file or in memory.

    A process has one shared memory for each file in WAL mode. If the first of its connections came
    while the files were read-only, none of them can write until all of them are closed. One that
    writes is closed when that fails; one that only reads would notice nothing.
    """

    vendor = "sqlite"
    keeps_readers = False
    statements = SQLiteStatements
    add_held_sql = _ADD_HELD
    effects_sql = _EFFECTS
    one_writer = True
    locks_rows = False

    def prepare(self, cursor: CursorWrapper) -> None:
        """Give SQLite the room that it needs, unless the project has set something itself."""
        for name, (standard, wanted) in _WIDER.items():
            cursor.execute(f"PRAGMA {name}")
            if cursor.fetchone() == (standard,):
                cursor.execute(f"PRAGMA {name} = {wanted}")

    def pass_capture_by(self, cursor: CursorWrapper) -> None:
        """The table is there if something is captured here."""
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = %s", [origin.TABLE])
        if cursor.fetchone() is not None:
            cursor.execute(f"INSERT INTO {origin.TABLE} VALUES (1)")

    def capture_again(self, cursor: CursorWrapper) -> None:
        cursor.execute("SELECT 1 FROM sqlite_master WHERE name = %s", [origin.TABLE])
        if cursor.fetchone() is not None:
            cursor.execute(f"DELETE FROM {origin.TABLE}")

    @contextmanager
    def hasty(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """SQLite's own waiting sleeps for up to 100 ms, and misses the moments between two."""
        before = int(_pragma(connection, "busy_timeout"))
        _pragma(connection, "busy_timeout = 0")
        try:
            yield
        finally:
            _pragma(connection, f"busy_timeout = {before}")

    def _of_names(
        self, cursor: CursorWrapper, sql: str, holding: int, names: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        """One statement, however many names there are."""
        cursor.execute(f"{sql} (SELECT value FROM json_each(%s))", [holding, json.dumps(names)])
        yield from cursor.fetchall()

    def next_numbers(self, cursor: CursorWrapper, table: str, column: str, count: int) -> list[int]:
        more = "UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s"
        cursor.execute(more, [count, table])
        if not cursor.rowcount:
            new = "INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)"
            cursor.execute(new, [table, count])
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        (last,) = cursor.fetchone()
        return list(range(last - count + 1, last + 1))

    def is_durable(self, connection: BaseDatabaseWrapper) -> bool:
        return bool(_pragma(connection, "synchronous") >= _FULL)

    def slow_journal(self, connection: BaseDatabaseWrapper) -> str:
        mode = str(_pragma(connection, "journal_mode"))
        return "" if mode in ("wal", "memory") else mode


def _pragma(connection: BaseDatabaseWrapper, name: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return cursor.fetchone()[0]
