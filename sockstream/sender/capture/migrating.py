"""Keeps capture right while a schema changes, in `migrate` and wherever else Django does it.

SQLite refuses to alter a table that a trigger names wrongly afterwards, and drops a table's
triggers with it when the table is rebuilt; elsewhere what captures goes stale. So a change of a
table is seen, what captures is taken out of its way (SQLite), and made anew, for the columns that
there are then, right after it and in the same transaction: no commit is without its triggers.

SQLite has no other way to alter much of a table than to make one beside it, `new__`, and to give
that one its name. Between the two, the table is not there, and nobody can write to it, if that is
one transaction; if it is not (`atomic = False`), what was written meanwhile is lost to the
application as well, and a snapshot of the model is due.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from sockstream.exceptions import SockstreamError

from . import flushing, installing
from .dialects import PREFIX, Name, dialect_of

_NAME = r'(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|[^\s(;]+)'
_CHANGE = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*"
    rf"(?:(?P<word>ALTER|DROP)\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?"
    rf"(?P<table>{_NAME})(?=[\s(;]|$)(?!\s+(?:DISABLE|ENABLE)\b)"
    r"|(?:CREATE\s+UNIQUE|DROP)\s+INDEX\b|RENAME\s+TABLE\b)",
    re.IGNORECASE | re.DOTALL,
)


def watch() -> None:
    """See the changes of the schema in every connection of this process from now on."""
    connection_created.connect(_watch, dispatch_uid="sockstream.sender.watch")


class Watch:
    """An execute wrapper: sees every statement of one connection."""

    def __init__(self) -> None:
        self._busy = False

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        change = None if self._busy else _change(sql, context["connection"])
        if change is None:
            return execute(sql, params, many, context)
        self._busy = True
        try:
            return self._make(change, lambda: execute(sql, params, many, context), context)
        finally:
            self._busy = False

    def _make(self, change: re.Match[str], execute: Callable[[], Any], context: Any) -> Any:
        connection: BaseDatabaseWrapper = context["connection"]
        using = connection.alias
        table = _unquoted(change["table"] or "")
        if not installing.is_done(using):
            return execute()
        if table.startswith(PREFIX):
            if change["word"].upper() == "DROP" and table in installing.own_tables():
                installing.remove(using)  # else every write fails once they are gone
            return execute()
        dialect = dialect_of(connection)
        if dialect.in_transaction_by_hand():
            # Django cannot take part in it. What is not there afterwards is found by `lost`.
            for name in dialect.in_the_way(table):
                dialect.execute(dialect.drop(name))
            return execute()
        if connection.vendor != "sqlite":
            result = execute()
            installing.refresh(using)
            return result
        outer = connection.in_atomic_block
        with transaction.atomic(using=using):
            away = installing.make_room(using, table) if table else []
            result = execute()
            if table and not (outer and _is_made_anew(connection, table)):
                away = [name for name in away if _is_there(connection, name)]
            installing.refresh(using, away=away)
        return result


def _change(sql: Any, connection: BaseDatabaseWrapper) -> re.Match[str] | None:
    """The change of a table that a statement makes, if it makes one."""
    if not isinstance(sql, str):
        if not hasattr(sql, "as_string"):
            return None
        sql = sql.as_string(connection.connection)  # of psycopg's sql
    return _CHANGE.match(sql)


def _is_made_anew(connection: BaseDatabaseWrapper, table: str) -> bool:
    """Whether the table goes since another one, with its rows, takes its name."""
    return f"new__{table}" in connection.introspection.table_names()


def _is_there(connection: BaseDatabaseWrapper, name: Name) -> bool:
    """Whether the table that this was on is there: else nothing captures what is written to it."""
    tables = connection.introspection.table_names()
    return name.table.lower() in {table.lower() for table in tables}


def _unquoted(name: str) -> str:
    if name[:1] in {'"', "`"}:
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


def _watch(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if not any(isinstance(wrapper, Watch) for wrapper in connection.execute_wrappers):
        connection.execute_wrappers.append(Watch())


def end(using: str, **kwargs: Any) -> None:
    """The receiver of post_migrate: installs what the models say now."""
    if flushing.put_back(using):
        return
    try:
        lines = installing.install(using)
    except SockstreamError as error:
        raise CommandError(str(error)) from error
    flushing.remember(using)
    if kwargs.get("verbosity", 1):
        for line in lines:
            print(line, file=kwargs.get("stdout"))
