"""One oplog_send a database: a lock that the operating system or the server drops with its holder.

It is there for the clear word to the second one. That two sequencers never number the same record
does not depend on it: `oplog.append` moves the head only from where it was read.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.db import connections

from ..exceptions import SockstreamError

_LOCK = 0x736F636B  # "sock"
_NAME = "CONCAT('sockstream-', DATABASE())"
_TAKE = {
    "postgresql": f"SELECT pg_try_advisory_lock({_LOCK})",
    "mysql": f"SELECT GET_LOCK({_NAME}, 0)",
}
_IS_FREE = {
    "postgresql": "SELECT NOT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d "
    f"ON d.oid = l.database WHERE d.datname = current_database() "
    f"AND l.locktype = 'advisory' AND l.classid = 0 AND l.objid = {_LOCK})",
    "mysql": f"SELECT IS_FREE_LOCK({_NAME})",
}
# Two bytes of the lock file: whoever asks whether a sender runs tries the second one, so that
# asking never keeps a sender from taking the first.
_RIGHT, _PRESENCE = 0, 1


@contextmanager
def lease(using: str) -> Iterator[None]:
    """Hold the right to send from database `using`.

    Raises SockstreamError ("sender-running") if another process holds it.
    """
    vendor = connections[using].vendor
    if vendor == "sqlite":
        with _lock_file(using) as file:
            if not _locked(file, _RIGHT):
                raise _taken(using)
            fcntl.lockf(file, fcntl.LOCK_SH, 1, _PRESENCE)
            yield
        return
    if vendor in _TAKE and not _answer(using, _TAKE[vendor]):
        raise _taken(using)
    try:
        yield
    finally:
        # A lock of the session goes with its connection, also with one that is broken.
        connections[using].close()


def is_held(using: str) -> bool:
    """Whether another process sends from database `using`."""
    vendor = connections[using].vendor
    if vendor == "sqlite":
        with _lock_file(using) as file:
            return not _locked(file, _PRESENCE)
    return vendor in _IS_FREE and not _answer(using, _IS_FREE[vendor])


@contextmanager
def _lock_file(using: str) -> Iterator[IO[bytes]]:
    path = Path(f"{connections[using].settings_dict['NAME']}-oplog_send.lock")
    try:
        file = path.open("a+b")
    except OSError as error:
        raise SockstreamError(
            "lease", f"{path} cannot be opened: {error.strerror}", "Let oplog_send write there"
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


def _taken(using: str) -> SockstreamError:
    return SockstreamError(
        "sender-running",
        f"Another oplog_send runs on database {using!r}",
        "Stop that one first, or leave the work to it",
    )
