"""The two tables of the workload, and how rows get into them by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from benchmarks.peers.common import FULL

# KiB. With the 2 MiB that SQLite has by itself, pages that are needed again come from the file.
CACHE = "PRAGMA cache_size = -65536"
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Table:
    """A table by its columns, the key first, each with its type on PostgreSQL."""

    name: str
    columns: dict[str, str]

    def upsert(self, source: str) -> str:
        """The statement that takes rows from `source`, the new ones and the changed ones."""
        names = list(self.columns)
        changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
        return (
            f"INSERT INTO {self.name} ({', '.join(names)}) {source} "
            f"ON CONFLICT ({names[0]}) DO UPDATE SET {changes}"
        )


QUESTIONS = Table(
    "polls_question",
    {"id": "uuid", "text": "text", "published_at": "timestamptz", "closed": "bool"},
)
CHOICES = Table(
    "polls_choice", {"id": "uuid", "question_id": "uuid", "text": "text", "votes": "int4"}
)
PARENTS_FIRST = (QUESTIONS, CHOICES)


class Way(Protocol):
    """How rows are written, in a transaction that is open."""

    name: str

    def begin(self) -> None: ...
    def put(self, table: Table, rows: Sequence[Row]) -> None: ...
    def remove(self, table: Table, keys: Sequence[Any]) -> None: ...
    def commit(self) -> None: ...
    def close(self) -> None: ...


class SQLite:
    """`executemany` of the standard library's driver."""

    name = "by hand: executemany"

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(f"{FULL}; PRAGMA foreign_keys = ON; {CACHE}")

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        self.connection.executemany(table.upsert(f"VALUES ({marks})"), rows)

    def remove(self, table: Table, keys: Sequence[Any]) -> None:
        self.connection.executemany(
            f"DELETE FROM {table.name} WHERE id = ?", [(key,) for key in keys]
        )

    def commit(self) -> None:
        self.connection.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


class ExecuteMany:
    """psycopg's `executemany`; what the ways on PostgreSQL share."""

    name = "by hand: executemany"

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.cursor = connection.cursor()

    def begin(self) -> None:
        self.cursor.execute("BEGIN")

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join(f"%b::{kind}" for kind in table.columns.values())
        self.cursor.executemany(table.upsert(f"VALUES ({marks})"), rows)

    def remove(self, table: Table, keys: Sequence[Any]) -> None:
        self.cursor.execute(f"DELETE FROM {table.name} WHERE id = ANY(%b::uuid[])", [list(keys)])

    def commit(self) -> None:
        self.cursor.execute("COMMIT")

    def close(self) -> None:
        self.connection.close()


class Unnest(ExecuteMany):
    """All rows of a table in one statement."""

    name = "by hand: unnest"

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        arrays = ", ".join(f"%b::{kind}[]" for kind in table.columns.values())
        columns = [list(column) for column in zip(*rows, strict=True)]
        self.cursor.execute(table.upsert(f"SELECT * FROM unnest({arrays})"), columns)


class Copy(ExecuteMany):
    """Binary COPY into a temporary table; psycopg's own writer."""

    name = "by hand: COPY"

    def __init__(self, connection: psycopg.Connection) -> None:
        super().__init__(connection)
        for table in PARENTS_FIRST:
            names = ", ".join(table.columns)
            self.cursor.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS new_{table.name} ON COMMIT DELETE ROWS "
                f"AS SELECT {names} FROM {table.name} WITH NO DATA"
            )

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        self.copy(table, f"new_{table.name}", rows)
        self.cursor.execute(table.upsert(f"SELECT * FROM new_{table.name}"))

    def copy(self, table: Table, target: str, rows: Sequence[Row]) -> None:
        names = ", ".join(table.columns)
        with self.cursor.copy(f"COPY {target} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(list(table.columns.values()))
            for row in rows:
                copy.write_row(row)


class CopyAlone(Copy):
    """No upsert: the rows have to be new."""

    name = "by hand: COPY alone"

    def put(self, table: Table, rows: Sequence[Row]) -> None:
        self.copy(table, table.name, rows)
