"""For people's commands: a write that waits for the transactions of oplog_receive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import InterfaceError, connections

from sockstream.databases import readiness
from sockstream.exceptions import SockstreamError

from .applying.faults import transient
from .dialects import dialect_of

T = TypeVar("T")

_PATIENCE = 60.0
_QUIET = 1.0
_AGAIN = 0.01


def patiently(
    action: Callable[[], T], using: str, tell: Callable[[str], object], patience: float = _PATIENCE
) -> T:
    """Run `action`, a transaction, again and again until no lock is in its way.

    `tell` hears once that it waits. Raises SockstreamError: lock-wait after `patience` seconds,
    database-unreachable, or what `action` raises.
    """
    begun = time.monotonic()
    told = False
    connection = connections[using]
    with dialect_of(connection).hasty(connection):
        while True:
            try:
                return action()
            except (DatabaseError, InterfaceError) as error:
                failed = transient(error)
                if failed is None or failed.code != "retry":
                    raise readiness.unreachable(using, error) from error
                waited = time.monotonic() - begun
                if waited >= patience:
                    raise SockstreamError(
                        "lock-wait",
                        f"Central's database was locked for {patience:.0f} s: {failed.words}",
                        "A long transaction of oplog_receive or of another program is at work. "
                        "Nothing was changed; try again, or stop oplog_receive first",
                    ) from error
            if not told and waited >= _QUIET:
                told = True
                tell("Waiting for a transaction that is at work in central's database ...")
            time.sleep(_AGAIN)
