"""Installs what captures, compares it with what has to be, and removes it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from django.db import DatabaseError, connections, transaction

from sockstream.conf import Settings, settings
from sockstream.exceptions import SockstreamError
from sockstream.sender.models import Capture, CaptureLayout, Due, Installed

from . import layouts, missed
from .dialects import DIALECTS, Dialect, Name, Thing, dialect_of, differences
from .missed import Installation

logger = logging.getLogger("sockstream.sender")


def install(using: str, *, away: Collection[Name] = ()) -> list[str]:
    """Make capture in this database what the settings and the models say, where it differs.

    `away`: what was taken away in this transaction, so that nobody wrote without it.

    Returns, in words, what was not captured, so that a snapshot of it is due. Without the sender's
    tables (before their migration, or in another database) nothing is done.
    Raises ConfigError for a setting, or a database, with which it cannot be; SockstreamError if
    the database refuses.
    """
    wanted = settings()
    if not is_ready(using):
        return []
    if wanted.CAPTURE == "signals":
        return _install_signals(using, wanted)
    dialect = dialect_of(connections[using])
    with _told(using), _whole(dialect):
        plans = layouts.plans(dialect.connection, wanted, dialect.tables)
        layouts.store(using, plans)
        found = dialect.found()
        installation = Installation(using)
        installation.forget(away)
        _exchange(dialect, dialect.wanted(plans), found)
        reasons = installation.missed(dialect, plans, found)
        missed.note(using, reasons)
        installation.store(plans, dialect.of_table)
    return missed.in_words(reasons)


def refresh(using: str, *, away: Collection[Name] = ()) -> None:
    """Install after a change of the schema, which must not fail because of us: if that cannot be
    done, the log says why, and `lost` finds what is missing.
    """
    try:
        install(using, away=away)
    except SockstreamError as error:
        logger.error("%s", error)


def _install_signals(using: str, wanted: Settings) -> list[str]:
    """The layouts, and what tells the sender of a commit."""
    with transaction.atomic(using=using):
        plans = layouts.python_plans(wanted, using)
        layouts.store(using, plans)
        installation = Installation(using)
        reasons = installation.first(plans)
        missed.note(using, reasons)
        installation.store(plans, lambda plan: {})
        if connections[using].vendor in DIALECTS:
            dialect = dialect_of(connections[using])
            _exchange(dialect, dialect.wanted([]), dialect.found())
    return missed.in_words(reasons)


def remove(using: str) -> None:
    """Remove everything that captures; what was captured stays."""
    connection = connections[using]
    if connection.vendor not in DIALECTS or not is_ready(using):
        return
    dialect = dialect_of(connection)
    with _whole(dialect):
        for name in dialect.found():
            dialect.execute(dialect.drop(name))


def make_room(using: str, table: str) -> list[Name]:
    """Take away, in the caller's transaction, what the database lets nobody alter the table with.

    Returns what that was: the caller installs it again in the same transaction.
    """
    dialect = dialect_of(connections[using])
    names = dialect.in_the_way(table)
    for name in names:
        dialect.execute(dialect.drop(name))
    return names


def drift(using: str) -> list[str]:
    """What is not installed as it has to be, in words; empty if all is well."""
    wanted = settings()
    if not is_ready(using):
        return ["the sender's tables are missing"]
    if wanted.CAPTURE == "signals":
        plans = layouts.python_plans(wanted, using)
        return layouts.unstored(using, plans) + _leftovers(using)
    dialect = dialect_of(connections[using])
    plans = layouts.plans(dialect.connection, wanted, dialect.tables)
    return layouts.unstored(using, plans) + differences(dialect.wanted(plans), dialect.found())


def lost(using: str) -> list[str]:
    """The models whose triggers are not those that were installed last.

    Unlike `drift`, it does not depend on the models of this process, which may be older.
    """
    if connections[using].vendor not in DIALECTS:
        return []
    dialect = dialect_of(connections[using])
    return Installation(using).lost(dialect.found())


def is_ready(using: str) -> bool:
    """Whether the sender's tables belong into this database and are there."""
    if not layouts.lives_here(using):
        return False
    return own_tables() <= set(connections[using].introspection.table_names())


def own_tables() -> set[str]:
    """The tables without which nothing can be captured."""
    return {model._meta.db_table for model in (Capture, CaptureLayout, Due, Installed)}


def is_done(using: str) -> bool:
    """Whether anything was installed here."""
    return is_ready(using) and Installed.objects.using(using).exists()


@contextmanager
def _told(using: str) -> Iterator[None]:
    """Say what the database wants before it lets us capture, in its own words and ours."""
    try:
        yield
    except DatabaseError as error:
        raise SockstreamError(
            "capture-refused",
            f"Database {using!r} refuses what captures: {' '.join(map(str, error.args))}",
            "Give whoever runs migrate the rights that docs/capture.md names, and run it again",
        ) from error


def _whole(dialect: Dialect) -> AbstractContextManager[object]:
    """One transaction, where the database's DDL can be in one."""
    if dialect.transactional:
        return transaction.atomic(using=dialect.connection.alias)
    return nullcontext()


def _exchange(dialect: Dialect, wanted: dict[Name, Thing], found: dict[Name, str]) -> None:
    for name, thing in wanted.items():
        if found.get(name) != thing.text:
            for statement in thing.create:
                dialect.execute(statement)
    for name in found.keys() - wanted.keys():
        dialect.execute(dialect.drop(name))


def _leftovers(using: str) -> list[str]:
    connection = connections[using]
    if connection.vendor not in DIALECTS:
        return []
    dialect = dialect_of(connection)
    return differences(dialect.wanted([]), dialect.found())
