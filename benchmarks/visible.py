"""When a row can be seen at central: a reader in a thread of its own, on a connection of its own.

Only choices with the text `TIMED` count. Django has to be set up before this is imported.
"""

from __future__ import annotations

import select
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import inotify_simple  # type: ignore[import-untyped]
from django.db import connections

TIMED = "timed"

_LOOK, _LOOKS = 0.0002, 50


class Reader(ABC, threading.Thread):
    """Notes when each of central's timed choices can be seen; until `expected` of them were."""

    def __init__(self, using: str, expected: int) -> None:
        super().__init__(daemon=True)
        self.using = using
        self.expected = expected
        self.seen: dict[UUID, float] = {}
        self.ready = threading.Event()

    def run(self) -> None:
        try:
            self.begin()
            self.ready.set()
            while len(self.seen) < self.expected:
                keys = self.wait()
                now = time.perf_counter()
                for key in keys:
                    self.seen.setdefault(key, now)
        finally:
            connections[self.using].close()

    @abstractmethod
    def begin(self) -> None:
        """Know what is there already."""

    @abstractmethod
    def wait(self) -> Iterable[UUID]:
        """The keys of rows that can be seen now, and could not before."""


class PostgreSQLReader(Reader):
    """Hears of each row with its commit."""

    def begin(self) -> None:
        with connections[self.using].cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS "
                "$$BEGIN PERFORM pg_notify('seen', NEW.id::text); RETURN NEW; END$$"
            )
            cursor.execute(
                "CREATE OR REPLACE TRIGGER tell AFTER INSERT ON polls_choice "
                f"FOR EACH ROW WHEN (NEW.text = '{TIMED}') EXECUTE FUNCTION tell()"
            )
            cursor.execute("LISTEN seen")

    def wait(self) -> Iterable[UUID]:
        connection: Any = connections[self.using].connection
        return [UUID(each.payload) for each in connection.notifies(timeout=1, stop_after=1)]


class SQLiteReader(Reader):
    """Looks when a file of the database has changed, until it sees what that was."""

    def begin(self) -> None:
        self._changes = inotify_simple.INotify()
        path = Path(str(connections[self.using].settings_dict["NAME"]))
        self._changes.add_watch(path.parent, inotify_simple.flags.MODIFY)
        self._last = 0
        self._version = -1
        self._fresh()

    def wait(self) -> Iterable[UUID]:
        select.select([self._changes], [], [], 1)
        self._changes.read(timeout=0)
        # The bytes of a commit are there a little before it can be seen.
        for _ in range(_LOOKS):
            if (version := self._ask("PRAGMA data_version")[0][0]) != self._version:
                self._version = version
                return self._fresh()
            time.sleep(_LOOK)
        return []

    def _fresh(self) -> list[UUID]:
        sql = "SELECT rowid, id, text FROM polls_choice WHERE rowid > %s ORDER BY rowid"
        rows = self._ask(sql, [self._last])
        self._last = rows[-1][0] if rows else self._last
        return [UUID(key) for _, key, text in rows if text == TIMED]

    def _ask(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql, parameters)
            return list(cursor.fetchall())


def reader_of(using: str, expected: int) -> Reader:
    """The reader for the database, not started."""
    readers = {"postgresql": PostgreSQLReader, "sqlite": SQLiteReader}
    return readers[connections[using].vendor](using, expected)
