"""Keeps capture right while `migrate` runs.

A migration changes tables and writes rows in turn. SQLite drops a table's triggers when it is
rebuilt, and refuses to alter a table that a trigger names wrongly meanwhile; a PostgreSQL function
that names a column which is gone fails the write. So what captures is removed (SQLite) or known to
be stale (elsewhere) after a change of the schema, and made anew, for the columns that there are
then, before the next statement that may write. The last one of every migration is the note that it
was applied, so that none is committed without its triggers.

At the end, the rows whose new columns hold something else than the constant default that central's
migration gives them, too, are captured once more: a change of the schema fires no trigger, and
what was written meanwhile may have been captured without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import sqlparse
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.conf import settings
from sockstream.sender.models import Capture

from . import flushing, gains, installing

_WORD = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_WRITES = {"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "MERGE", "TRUNCATE", "DO", "CALL"}
_CHANGES = {"ALTER", "DROP", "CREATE", "RENAME"}
_REBUILDING = re.compile(r'\s*INSERT INTO "new__', re.IGNORECASE)
_CATALOGUE = re.compile(r"\b(pg_\w+|information_schema|django_migrations)\b", re.IGNORECASE)

_watches: dict[str, Watch] = {}


class Watch:
    """An execute wrapper: sees every statement of one connection while `migrate` runs."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._stale = False
        self._busy = False
        self.before = gains.columns(connection) if installing.is_ready(connection.alias) else None

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if self._busy or not isinstance(sql, str):
            return execute(sql, params, many, context)
        result = None
        for statement in self._statements(sql, params):
            self._busy = True
            try:
                self._prepare(statement)
            finally:
                self._busy = False
            result = execute(statement, params, many, context)
        return result

    def _statements(self, sql: str, params: Any) -> list[str]:
        """PostgreSQL takes a script as one statement: its writes have to be seen one by one."""
        script = self._connection.vendor == "postgresql" and not params and ";" in sql
        if script and _word(sql) not in {"SELECT", "DO"}:
            return [part for part in sqlparse.split(sql) if part.strip("; \n")]
        return [sql]

    def _prepare(self, sql: str) -> None:
        word = _word(sql)
        if word in _CHANGES:
            if self._is_in_the_way(word, sql):
                installing.remove(self._connection.alias)
            self._stale = True
        elif self._stale and self._may_write(word, sql):
            self._stale = False
            installing.install(self._connection.alias)

    def _is_in_the_way(self, word: str, sql: str) -> bool:
        if word == "DROP" and Capture._meta.db_table in sql:
            return True  # else every write fails once the sender's tables are gone
        return self._connection.vendor == "sqlite" and word in {"ALTER", "DROP"}

    def _may_write(self, word: str, sql: str) -> bool:
        if word in _WRITES:
            return not _REBUILDING.match(sql)
        # A function that is selected may write, though not on SQLite.
        selects = word == "SELECT" and self._connection.vendor != "sqlite"
        return selects and not _CATALOGUE.search(sql)


def begin(using: str, **kwargs: Any) -> None:
    """The receiver of pre_migrate."""
    _forget(using)  # one that failed never came to its end
    watch = _watches[using] = Watch(connections[using])
    connections[using].execute_wrappers.append(watch)


def end(using: str, **kwargs: Any) -> None:
    """The receiver of post_migrate: installs what the models say now."""
    watch = _forget(using)
    if watch is None and flushing.put_back(using):
        return
    installing.install(using)
    flushing.remember(using)
    if watch is not None and watch.before is not None and settings().CAPTURE == "triggers":
        gains.capture(connections[using], watch.before)


def _forget(using: str) -> Watch | None:
    watch = _watches.pop(using, None)
    wrappers = connections[using].execute_wrappers
    if watch in wrappers:
        wrappers.remove(watch)
    return watch


def _word(sql: str) -> str:
    found = _WORD.match(sql)
    return found[1].upper() if found else ""
