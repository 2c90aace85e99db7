"""How the sender notices a commit.

PostgreSQL notifies (LISTEN needs a direct connection; behind a pooler the sender has to look).
On SQLite another connection's commit changes `PRAGMA data_version`, which costs microseconds to
read; on Linux inotify tells when to read it. Elsewhere the sender looks into the capture table.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from django.db import connections

from sockstream.sender.capture.dialects.plpgsql import CHANNEL
from sockstream.sender.models import Capture

logger = logging.getLogger("sockstream.sender")

_LOOK = 0.2
_LOOK_WHERE_NOTIFIED = 1.0
_UNTOLD = 3
_SOON = 0.0002


class Waker(Protocol):
    """Tells that something may have been captured."""

    interval: float | None
    """Seconds between two looks; None if `fileno` becomes readable by itself."""

    def fileno(self) -> int | None:
        """A file descriptor to wait for."""

    def woken(self) -> bool:
        """Whether something may have been captured since the last call."""

    def close(self) -> None:
        """Watch no longer."""


class DataVersion:
    """SQLite: looks when the database's files change, and for a while after that.

    The bytes of a commit are in the file before the commit can be seen, so one look at the moment
    of the change would miss it now and then. Without inotify it looks every `interval` seconds.
    """

    def __init__(self, using: str, interval: float) -> None:
        self._connection = connections[using]
        self._watch = _watch(Path(str(self._connection.settings_dict["NAME"])))
        self._longest = _LOOK if self._watch else interval
        self.interval: float | None = self._longest
        self._seen = -1

    def fileno(self) -> int | None:
        return self._watch.fileno() if self._watch else None

    def woken(self) -> bool:
        touched = bool(self._watch and self._watch.read(timeout=0))
        seen = self._data_version()
        changed, self._seen = seen != self._seen, seen
        if touched or changed:
            self.interval = min(_SOON, self._longest)
        else:
            self.interval = min(2 * (self.interval or _SOON), self._longest)
        return changed

    def close(self) -> None:
        if self._watch:
            self._watch.close()

    def _data_version(self) -> int:
        self._connection.ensure_connection()
        raw: Any = self._connection.connection
        return int(raw.execute("PRAGMA data_version").fetchone()[0])


def _watch(database: Path) -> Any:
    """An inotify watch over the database's folder; None where there is none to be had.

    The folder, since the files of a write-ahead log come and go.
    """
    if sys.platform != "linux":
        return None
    from inotify_simple import INotify, flags  # type: ignore[import-untyped]

    try:
        watch = INotify()
        watch.add_watch(str(database.resolve().parent), flags.MODIFY)
    except OSError:
        # The kernel's limit of watches is reached: polling is slower, not wrong.
        return None
    return watch


class Notified:
    """PostgreSQL: LISTEN; now and then it looks, in case nobody is told anything.

    Through a pooler that hands out connections by transaction, LISTEN succeeds and nothing comes.
    """

    interval: float | None = _LOOK_WHERE_NOTIFIED

    def __init__(self, using: str) -> None:
        self._using = using
        self._connection = connections[using]
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._raw: Any = self._connection.connection
        self._look_at = 0.0
        self._untold = 0

    def fileno(self) -> int | None:
        return int(self._raw.fileno())

    def woken(self) -> bool:
        if self._told():
            self._untold = 0
            return True
        if time.monotonic() < self._look_at:
            return False
        first, self._look_at = not self._look_at, time.monotonic() + _LOOK_WHERE_NOTIFIED
        found = Capture.objects.using(self._using).exists()
        if found and not first:
            self._count_untold()
        return found or first

    def _told(self) -> bool:
        notifies = self._raw.notifies
        if callable(notifies):
            return any([*notifies(timeout=0)])
        self._raw.poll()  # psycopg 2 puts them into a list
        told = bool(notifies)
        notifies.clear()
        return told

    def _count_untold(self) -> None:
        # A commit is visible a moment before its notification comes, so one proves nothing.
        self._untold += 1
        if self._untold == _UNTOLD:
            logger.warning(
                "PostgreSQL notifies nobody of commits on database %r: looking every %g s. "
                "Connect directly, not through a pooler, to notice commits at once.",
                *(self._using, _LOOK_WHERE_NOTIFIED),
            )

    def close(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(f"UNLISTEN {CHANNEL}")


class Looking:
    """Any other database: look whether a captured row is there."""

    interval: float | None = _LOOK

    def __init__(self, using: str) -> None:
        self._using = using

    def fileno(self) -> int | None:
        return None

    def woken(self) -> bool:
        return Capture.objects.using(self._using).exists()

    def close(self) -> None:
        pass


def waker(using: str, interval: float) -> Waker:
    """The best way for this database; `interval` in seconds is for SQLite."""
    connection = connections[using]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        return DataVersion(using, interval)
    if connection.vendor == "postgresql" and hasattr(connection.connection, "notifies"):
        return Notified(using)
    return Looking(using)
