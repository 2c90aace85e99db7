"""Installs what captures, compares it with what has to be, and removes it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from django.db import connections, transaction

from sockstream.conf import Settings, settings
from sockstream.rows import writing_order
from sockstream.sender.models import Capture, CaptureLayout

from . import layouts
from .dialects import DIALECTS, Dialect, Name, Thing, dialect_of, differences
from .layouts import Plan


def install(using: str) -> None:
    """Make capture in this database what the settings and the models say, where it differs.

    The rows of a model that is captured for the first time are captured as inserts. Without the
    sender's tables (before their migration, or in another database) nothing is done.
    Raises ConfigError for a setting, or a database, with which it cannot be.
    """
    wanted = settings()
    if not is_ready(using):
        return
    if wanted.CAPTURE == "signals":
        _install_signals(using, wanted)
        return
    dialect = dialect_of(connections[using])
    with _whole(dialect):
        plans = layouts.plans(dialect.connection, wanted, dialect.tables)
        known = set(CaptureLayout.objects.using(using).values_list("model", flat=True))
        layouts.store(using, plans)
        _exchange(dialect, dialect.wanted(plans))
        _capture_existing(dialect, [plan for plan in plans if plan.row.label not in known])


def _install_signals(using: str, wanted: Settings) -> None:
    """The layouts, and what tells the sender of a commit."""
    with transaction.atomic(using=using):
        layouts.store(using, layouts.python_plans(wanted, using))
        if connections[using].vendor in DIALECTS:
            dialect = dialect_of(connections[using])
            _exchange(dialect, dialect.wanted([]))


def remove(using: str) -> None:
    """Remove everything that captures; what was captured stays."""
    connection = connections[using]
    if connection.vendor not in DIALECTS or not is_ready(using):
        return
    dialect = dialect_of(connection)
    with _whole(dialect):
        for name in dialect.found():
            dialect.execute(dialect.drop(name))


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


def is_ready(using: str) -> bool:
    """Whether the sender's tables belong into this database and are there."""
    if not layouts.lives_here(using):
        return False
    tables = set(connections[using].introspection.table_names())
    return {Capture._meta.db_table, CaptureLayout._meta.db_table} <= tables


def _whole(dialect: Dialect) -> AbstractContextManager[object]:
    """One transaction, where the database's DDL can be in one."""
    if dialect.transactional:
        return transaction.atomic(using=dialect.connection.alias)
    return nullcontext()


def _exchange(dialect: Dialect, wanted: dict[Name, Thing]) -> None:
    found = dialect.found()
    for name, thing in wanted.items():
        if found.get(name) != thing.text:
            for statement in thing.create:
                dialect.execute(statement)
    for name in found.keys() - wanted.keys():
        dialect.execute(dialect.drop(name))


def _capture_existing(dialect: Dialect, plans: list[Plan]) -> None:
    by_label = {plan.row.label: plan for plan in plans}
    for row in writing_order(plan.row for plan in plans):
        dialect.execute(dialect.existing(by_label[row.label], "I"))


def _leftovers(using: str) -> list[str]:
    connection = connections[using]
    if connection.vendor not in DIALECTS:
        return []
    dialect = dialect_of(connection)
    return differences(dialect.wanted([]), dialect.found())
