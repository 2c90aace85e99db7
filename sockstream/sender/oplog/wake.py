"""How the sender notices a commit.

PostgreSQL notifies (LISTEN needs a direct connection; behind a pooler the sender has to look).
On SQLite another connection's commit changes `PRAGMA data_version`, which costs microseconds to
read; on Linux inotify tells when to read it. Elsewhere the sender looks into the capture table.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Set
from pathlib import Path
from typing import Any, Protocol

from django.db import connections

from sockstream.sender.capture.dialects.plpgsql import CHANNEL, SLEEPS
from sockstream.sender.models import Capture

from .floor import Floor
from .writers import writers

logger = logging.getLogger("sockstream.sender")

_LOOK = 0.2
_LOOK_WHERE_NOTIFIED = 1.0
_UNTOLD = 3
# Between two looks, while we are awake: longer than the second one, we need not be.
_EARLY, _LATE = 0.001, 0.004
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
    """PostgreSQL: LISTEN, while we sleep. Now and then it looks, in case nobody is told anything.

    Transactions that notify commit one after another. So, while commits come faster than they are
    numbered, they are not to, and we look for them ourselves. After a few looks for nothing we
    share the lock `SLEEPS`: from then on each statement that captures something notifies. Whoever
    wrote before that and has not committed yet does not: until they are over, we go on looking.

    Nothing depends on when the lock is let go: a commit that notifies nobody only takes longer.
    Behind a pooler the lock may outlive us. One that hands out connections by transaction takes a
    LISTEN and tells nothing: there we are never told, and so look once a second.
    """

    def __init__(self, using: str, floor: Floor) -> None:
        self._using = using
        self._floor = floor
        self._connection = connections[using]
        self._execute(f"LISTEN {CHANNEL}")
        self._raw: Any = self._connection.connection
        self._asleep = False
        self._silent: Set[str] = frozenset()
        self._woke = False
        self._look_at = 0.0
        self._untold = 0
        self.interval: float | None = _LATE
        self._told()  # what was there before is looked for anyway

    def fileno(self) -> int | None:
        return int(self._raw.fileno())

    def woken(self) -> bool:
        at_once, self._woke = self._woke, False
        now = time.monotonic()
        if self._told():
            self._untold = 0
            if at_once and self._asleep:
                self._wake_up()  # it came while the last one was numbered
            self._woke = True
        elif now >= self._look_at:
            first = not self._look_at
            self._woke = self._look() or first
            self._look_at = now + (self.interval or 0.0)
        return self._woke

    def _look(self) -> bool:
        """Whether something is captured; says when to look again."""
        if self._asleep and not self._silent:
            return self._look_unasked()
        if self._asleep:
            self._silent &= writers(self._using).keys()
        elif (self.interval or 0.0) >= _LATE:
            self._fall_asleep()
        # What those have left who are silent and over is seen from here on.
        found = self._exists(self._floor.id)
        if self._asleep and not self._silent:
            self.interval = _LOOK_WHERE_NOTIFIED
        elif found:
            self.interval = _EARLY
        else:
            self.interval = min(2 * (self.interval or 0.0), _LOOK if self._asleep else _LATE)
        return found

    def _look_unasked(self) -> bool:
        """The same where nothing should be there: we would have been told."""
        found = self._exists(0)
        if found:
            self._floor.reset()
            self._count_untold()
        return found

    def _exists(self, above: int) -> bool:
        return Capture.objects.using(self._using).filter(id__gt=above).exists()

    def _fall_asleep(self) -> None:
        # In this order: whoever writes after the first notifies, the second names all others.
        self._asleep = self._ask(f"SELECT pg_try_advisory_lock_shared({SLEEPS})")
        self._silent = writers(self._using).keys() if self._asleep else frozenset()

    def _wake_up(self) -> None:
        self._ask(f"SELECT pg_advisory_unlock_shared({SLEEPS})")
        self._asleep, self._silent = False, frozenset()
        self.interval, self._look_at = _EARLY, time.monotonic() + _EARLY

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
        if self._asleep:
            self._wake_up()
        self._execute(f"UNLISTEN {CHANNEL}")

    def _ask(self, sql: str) -> bool:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return bool(cursor.fetchone()[0])

    def _execute(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)


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


def waker(using: str, interval: float, floor: Floor) -> Waker:
    """The best way for this database; `interval` in seconds is for SQLite."""
    connection = connections[using]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        return DataVersion(using, interval)
    if connection.vendor == "postgresql" and hasattr(connection.connection, "notifies"):
        return Notified(using, floor)
    return Looking(using)
