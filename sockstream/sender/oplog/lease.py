"""One oplog_send, and one oplog_snapshot, a database: a row that says who does it, and that they
live.

It is no lock of a session: those belong to a connection, and behind a pooler, or when a machine
dies, the connection outlives the process. Whoever does the work renews its row every few seconds.
The row is free once its process is known to be gone, or has not renewed it for a while by the
database's own clock. On SQLite, whose users are on one machine, the operating system's lock on a
file beside the database tells the same, and nothing is written while nothing happens.

Whoever was taken for dead and was not finds that out when it renews next, and ends. That two
sequencers never number the same record does not depend on it: `store.append` moves the head only
from where it was read.
"""

from __future__ import annotations

import fcntl
import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from uuid import uuid4

from django.db import Error as DatabaseError
from django.db import IntegrityError, connections
from django.db.models import DurationField, ExpressionWrapper, F
from django.db.models.functions import Now
from django.utils import timezone

from sockstream.exceptions import SockstreamError
from sockstream.sender.models import Lease as Row

from .holders import Name, is_gone, this_process

RENEWED_EVERY = 5.0
STALE_AFTER = 20.0
"""Seconds; what a database may keep a renewal waiting lies between."""
# Two bytes of the lock file: whoever asks whether a sender runs tries the second one, so that
# asking never keeps a sender from taking the first.
_RIGHT, _PRESENCE = 0, 1

# The rows that this process holds: of those that it has lost it knows that nobody does the work.
_ours: set[str] = set()


@dataclass(frozen=True)
class Work:
    """What one process a database does: its command, and the code of the error for a second one."""

    command: str
    code: str


SENDING = Work("oplog_send", "sender-running")
SNAPSHOT = Work("oplog_snapshot", "snapshot-running")


@dataclass(frozen=True)
class Holder:
    """Who does the work, or did it last.

    `token` is empty once that is over; then `ended` is what ended it too soon. `fresh`: the row
    was renewed in time.
    """

    name: Name
    token: str
    since: datetime
    ended: str
    fresh: bool

    def __str__(self) -> str:
        began = timezone.localtime(self.since) if timezone.is_aware(self.since) else self.since
        return f"process {self.name.pid} on {self.name.host}, since {began:%Y-%m-%d %H:%M:%S}"


class Taken(SockstreamError):
    """Another process does the work."""

    def __init__(self, using: str, work: Work, holder: Holder | None) -> None:
        self.holder = holder
        who = f": {holder}" if holder else ""
        super().__init__(
            work.code,
            f"Another {work.command} runs on database {using!r}{who}",
            "Stop that one first, or leave the work to it",
        )


class Lease:
    """The right to do the work on database `using`, while it is entered.

    `keep` has to be called at `deadline`, by the monotonic clock.
    """

    def __init__(self, using: str, work: Work = SENDING) -> None:
        self.deadline = math.inf
        self._using = using
        self._work = work
        self._token = ""
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Raises Taken if another process does the work, and SockstreamError for the lock file."""
        if connections[self._using].vendor == "sqlite":
            self._lock()
        try:
            self._take()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _ours.discard(self._token)
        try:
            self._give_back(error)
        finally:
            self._unlock()

    def keep(self) -> None:
        """Renew the row, if it is time. Raises Taken if another process has taken the work over."""
        if time.monotonic() < self.deadline:
            return
        self.deadline = time.monotonic() + RENEWED_EVERY
        if not self._rows.filter(token=self._token).update(renewed_at=Now()):
            _ours.discard(self._token)
            self._take()

    def _give_back(self, error: BaseException | None) -> None:
        ended = "" if error is None else str(error) or "it was interrupted"
        # If the database cannot be told now, whoever reads the row sees that its process has ended,
        # and this process knows that it holds it no more.
        with suppress(DatabaseError):
            self._rows.filter(token=self._token).update(token="", ended=ended)

    @property
    def _rows(self) -> Any:
        return Row.objects.using(self._using).filter(work=self._work.command)

    def _take(self) -> None:
        new = uuid4().hex
        mine = {"token": new, "since": timezone.now(), "ended": "", **asdict(this_process())}
        while not self._put(mine):
            # Somebody was quicker: who it is, the next look tells.
            continue
        self._token = new
        _ours.add(new)
        if self._file is None:
            self.deadline = time.monotonic() + RENEWED_EVERY

    def _put(self, mine: dict[str, Any]) -> bool:
        """Make the row ours; False if it changed since it was read. Raises Taken."""
        last = _last(self._using, self._work)
        if last is None:
            with suppress(IntegrityError):
                Row.objects.using(self._using).create(
                    work=self._work.command, renewed_at=Now(), **mine
                )
                return True
            return False
        if self._file is None and _is_alive(last):
            raise Taken(self._using, self._work, last)
        return bool(self._rows.filter(token=last.token).update(renewed_at=Now(), **mine))

    def _lock(self) -> None:
        path = _lock_path(self._using, self._work)
        # The operating system's lock is the process's: a second one of the same would have it too.
        if str(path) not in _ours:
            file = _opened(path, self._work)
            if _locked(file, _RIGHT):
                fcntl.lockf(file, fcntl.LOCK_SH, 1, _PRESENCE)
                self._file = file
                _ours.add(str(path))
                return
            file.close()
        raise Taken(self._using, self._work, _last(self._using, self._work))

    def _unlock(self) -> None:
        if self._file is not None:
            _ours.discard(str(_lock_path(self._using, self._work)))
            self._file.close()
            self._file = None


def holder(using: str, work: Work = SENDING) -> Holder | None:
    """The process that does the work on database `using` now; None if none does."""
    found = _last(using, work)
    if found is None:
        return None
    if connections[using].vendor == "sqlite":
        return found if _is_locked(using, work) else None
    return found if _is_alive(found) else None


def is_held(using: str, work: Work = SENDING) -> bool:
    """Whether a process does the work on database `using` now."""
    return holder(using, work) is not None


def last_end(using: str, work: Work) -> str | None:
    """What ended the work the last time: empty if it was done. None if nobody knows.

    To be asked while nobody does it.
    """
    found = _last(using, work)
    if found is None:
        return None
    return f"{found} was killed" if found.token else found.ended


def _last(using: str, work: Work) -> Holder | None:
    """Whoever did the work last, or does it."""
    age = ExpressionWrapper(Now() - F("renewed_at"), DurationField())
    row = Row.objects.using(using).annotate(age=age).filter(work=work.command).first()
    if row is None:
        return None
    # A clock of the server's that was set back makes it negative, until the next renewal.
    fresh = abs(row.age) < timedelta(seconds=STALE_AFTER)
    name = Name(row.host, row.machine, row.pid, row.started)
    return Holder(name, row.token, row.since, row.ended, fresh)


def _is_alive(found: Holder) -> bool:
    if found.name == this_process():
        return found.token in _ours
    return bool(found.token) and found.fresh and not is_gone(found.name)


def _is_locked(using: str, work: Work) -> bool:
    path = _lock_path(using, work)
    if str(path) in _ours:
        return True  # to close the file once more would drop the lock
    with _opened(path, work) as file:
        return not _locked(file, _PRESENCE)


def _lock_path(using: str, work: Work) -> Path:
    return Path(f"{connections[using].settings_dict['NAME']}-{work.command}.lock")


def _opened(path: Path, work: Work) -> IO[bytes]:
    try:
        return path.open("a+b")
    except OSError as error:
        raise SockstreamError(
            "lease",
            f"{path} cannot be opened: {error.strerror}",
            f"Let {work.command} write there",
        ) from error


def _locked(file: IO[bytes], byte: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True
