"""One oplog_send, and one oplog_snapshot, a database: locks that the operating system or the server
drops with their holder.

The first is there for the clear word to the second one. That two sequencers never number the same
record does not depend on it: `oplog.append` moves the head only from where it was read.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from django.db import connections

from sockstream.exceptions import SockstreamError


@dataclass(frozen=True)
class Work:
    """What one process a database does: its command, the code of the error for the second one, and
    the lock of PostgreSQL's and MySQL's."""

    command: str
    code: str
    number: int
    name: str


SENDING = Work("oplog_send", "sender-running", 0x736F636B, "sockstream-")  # "sock"
SNAPSHOT = Work("oplog_snapshot", "snapshot-running", 0x736F636C, "sockstream-snapshot-")

_NAME = "CONCAT('{0.name}', DATABASE())"
_TAKE = {
    "postgresql": "SELECT pg_try_advisory_lock({0.number})",
    "mysql": f"SELECT GET_LOCK({_NAME}, 0)",
}
_LOCKED = (
    "FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
    "LEFT JOIN pg_stat_activity a ON a.pid = l.pid WHERE d.datname = current_database() "
    "AND l.locktype = 'advisory' AND l.classid = 0 AND l.objid = {0.number}"
)
_IS_FREE = {
    "postgresql": f"SELECT NOT EXISTS (SELECT 1 {_LOCKED})",
    "mysql": f"SELECT IS_FREE_LOCK({_NAME})",
}
# The connection that holds the lock, where it comes from, and what ends it.
_HOLDER = {
    "postgresql": (
        f"SELECT l.pid, coalesce(host(a.client_addr), 'this machine') {_LOCKED} AND l.granted",
        "SELECT pg_terminate_backend({0})",
    ),
    "mysql": (
        f"SELECT id, host FROM information_schema.processlist WHERE id = IS_USED_LOCK({_NAME})",
        "KILL {0}",
    ),
}
_LET_GO = {
    "postgresql": "SELECT pg_advisory_unlock({0.number})",
    "mysql": f"SELECT RELEASE_LOCK({_NAME})",
}
# Two bytes of the lock file: whoever asks whether a sender runs tries the second one, so that
# asking never keeps a sender from taking the first.
_RIGHT, _PRESENCE = 0, 1


@contextmanager
def lease(using: str, work: Work = SENDING) -> Iterator[None]:
    """Hold the right to do the work on database `using`.

    Raises SockstreamError if another process holds it.
    """
    vendor = connections[using].vendor
    if vendor == "sqlite":
        with _lock_file(using, work) as file:
            if not _locked(file, _RIGHT):
                raise _taken(using, work)
            fcntl.lockf(file, fcntl.LOCK_SH, 1, _PRESENCE)
            yield
        return
    if vendor in _TAKE and not _answer(using, _TAKE[vendor].format(work)):
        raise _taken(using, work)
    try:
        yield
    except BaseException:
        # A lock of the session goes with its connection, also with one that is broken.
        connections[using].close()
        raise
    if vendor in _LET_GO:
        _answer(using, _LET_GO[vendor].format(work))


def is_held(using: str, work: Work = SENDING) -> bool:
    """Whether another process does the work on database `using`."""
    vendor = connections[using].vendor
    if vendor == "sqlite":
        with _lock_file(using, work) as file:
            return not _locked(file, _PRESENCE)
    return vendor in _IS_FREE and not _answer(using, _IS_FREE[vendor].format(work))


@contextmanager
def _lock_file(using: str, work: Work) -> Iterator[IO[bytes]]:
    path = Path(f"{connections[using].settings_dict['NAME']}-{work.command}.lock")
    try:
        file = path.open("a+b")
    except OSError as error:
        raise SockstreamError(
            "lease",
            f"{path} cannot be opened: {error.strerror}",
            f"Let {work.command} write there",
        ) from error
    with file:
        yield file


def _locked(file: IO[bytes], byte: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _answer(using: str, sql: str) -> bool:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return bool(cursor.fetchone()[0])


def _taken(using: str, work: Work) -> SockstreamError:
    return SockstreamError(
        work.code,
        f"Another {work.command} runs on database {using!r}",
        f"Stop that one first, or leave the work to it{_holder(using, work)}",
    )


def _holder(using: str, work: Work) -> str:
    """Whose connection holds the lock, for people: its process may be gone, and it not."""
    sql, end = _HOLDER.get(connections[using].vendor, ("", ""))
    if not sql:
        return ""
    with connections[using].cursor() as cursor:
        cursor.execute(sql.format(work))
        found = cursor.fetchone()
    if found is None:
        return ""
    number, host = found
    return (
        f". The database's connection {number} from {host} holds its place; "
        f"if nobody is behind it any more, end it: {end.format(number)}"
    )
