"""Statements that nobody reads: with DEBUG, Django keeps the last 9,000 of each connection."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


@contextmanager
def not_kept() -> Iterator[None]:
    """While this lasts, no connection of any thread keeps its statements.

    Each has all values of its rows, so a command that runs for long would keep gigabytes.
    """
    # The connections of our own threads end with them.
    ours = threading.get_ident()
    before: list[tuple[BaseDatabaseWrapper, deque[Any]]] = []

    def keep_none(connection: BaseDatabaseWrapper, **_: Any) -> None:
        if connection.queries_log.maxlen != 0:
            if threading.get_ident() == ours:
                before.append((connection, connection.queries_log))
            connection.queries_log = deque(maxlen=0)

    connection_created.connect(keep_none, weak=False)
    for connection in connections.all(initialized_only=True):
        keep_none(connection)
    try:
        yield
    finally:
        connection_created.disconnect(keep_none)
        for connection, log in before:
            connection.queries_log = log
