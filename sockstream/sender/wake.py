"""How the sender notices a commit.

PostgreSQL notifies (LISTEN needs a direct connection; behind a pooler the sender has to look).
SQLite tells that another connection has committed by its data_version, which costs microseconds
to read. Elsewhere the sender looks into the capture table.
"""

from __future__ import annotations

from typing import Any, Protocol

from django.db import connections

from .capture.postgresql import CHANNEL
from .models import Capture

LOOK = 0.2


class Waker(Protocol):
    """Tells that something may have been captured."""

    interval: float | None
    """Seconds between two looks; None if `fileno` becomes readable by itself."""

    def fileno(self) -> int | None:
        """A file descriptor to wait for."""

    def woken(self) -> bool:
        """Whether something may have been captured since the last call."""


class DataVersion:
    """SQLite: another connection's commit changes PRAGMA data_version."""

    def __init__(self, using: str, interval: float) -> None:
        self.interval: float | None = interval
        self._connection = connections[using]
        self._seen = -1

    def fileno(self) -> int | None:
        return None

    def woken(self) -> bool:
        self._connection.ensure_connection()
        raw: Any = self._connection.connection
        seen = raw.execute("PRAGMA data_version").fetchone()[0]
        changed, self._seen = seen != self._seen, seen
        return bool(changed)


class Notified:
    """PostgreSQL: LISTEN, with psycopg 3."""

    interval: float | None = None

    def __init__(self, using: str) -> None:
        self._connection = connections[using]
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._raw: Any = self._connection.connection
        self._first = True

    def fileno(self) -> int | None:
        return int(self._raw.fileno())

    def woken(self) -> bool:
        first, self._first = self._first, False
        return any([*self._raw.notifies(timeout=0)]) or first


class Looking:
    """Any other database: look whether a captured row is there."""

    interval: float | None = LOOK

    def __init__(self, using: str) -> None:
        self._using = using

    def fileno(self) -> int | None:
        return None

    def woken(self) -> bool:
        return Capture.objects.using(self._using).exists()


def waker(using: str, interval: float) -> Waker:
    """The best way for this database; `interval` in seconds is for SQLite."""
    connection = connections[using]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        return DataVersion(using, interval)
    if connection.vendor == "postgresql" and hasattr(connection.connection, "notifies"):
        return Notified(using)
    return Looking(using)
