"""What Django's checks say about central; docs/checks.md has a line for each id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections, router

from sockstream.conf import settings
from sockstream.exceptions import ConfigError
from sockstream.rows import captured_models, describe

from .models import Offset

_FULL = 2


def check_models(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> Iterable[checks.CheckMessage]:
    """E101: MODELS can't be read. W101: models whose keys collide when two sites write them."""
    try:
        models = captured_models(settings())
    except ConfigError as error:
        return [checks.Error(error.words, hint=error.mend, id="sockstream.E101")]
    return [
        checks.Warning(
            f"{model._meta.label} has keys that two sites can both give: "
            "central takes it from the first one only",
            hint="Give it a UUID primary key, or a unique UUIDField",
            obj=model,
            id="sockstream.W101",
        )
        for model in models
        if not describe(model).is_global
    ]


def check_databases(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **_: Any,
) -> Iterable[checks.CheckMessage]:
    """E102: SQLite forgets acked records at a power loss. W102: readers and the applier wait."""
    messages: list[checks.CheckMessage] = []
    for alias in databases or ():
        if connections[alias].vendor == "sqlite" and router.allow_migrate_model(alias, Offset):
            messages += _check_sqlite(alias)
    return messages


def _check_sqlite(alias: str) -> Iterable[checks.CheckMessage]:
    with connections[alias].cursor() as cursor:
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
    if synchronous < _FULL:
        yield checks.Error(
            f"The SQLite database {alias!r} does not wait for the disk at a commit: "
            "after a power loss, central may lack what it has acked",
            hint='Add "PRAGMA synchronous=FULL" to its OPTIONS["init_command"]',
            id="sockstream.E102",
        )
    if journal not in ("wal", "memory"):
        yield checks.Warning(
            f"The SQLite database {alias!r} uses the journal mode {journal}: "
            "readers of central wait while records are applied",
            hint='Add "PRAGMA journal_mode=WAL" to its OPTIONS["init_command"]',
            id="sockstream.W102",
        )


def synchronous_enough(alias: str = DEFAULT_DB_ALIAS) -> bool:
    """Whether a commit of this database survives a power loss, as an ack promises."""
    if connections[alias].vendor != "sqlite":
        return True
    with connections[alias].cursor() as cursor:
        return bool(cursor.execute("PRAGMA synchronous").fetchone()[0] >= _FULL)
