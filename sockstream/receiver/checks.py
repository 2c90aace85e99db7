"""What Django's checks say about central; docs/checks.md has a line for each id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, connections, router

from sockstream import tls
from sockstream.conf import settings
from sockstream.databases.homes import misplaced
from sockstream.exceptions import ConfigError, some_of
from sockstream.rows import captured_models, describe, shared_models

from .dialects import dialect
from .models import Offset

_REVOCATIONS = {
    "crl-missing": "W103",
    "crl-expired": "W104",
    "crl-older": "W104",
    "crl-unreadable": "W105",
}


def check_models(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> Iterable[checks.CheckMessage]:
    """E101: MODELS can't be read. W101: models whose keys collide when two sites write them."""
    try:
        models = captured_models(settings())
        shared_models(settings())
    except ConfigError as error:
        return [checks.Error(error.words, hint=error.mend, id="sockstream.E101")]
    numbered = [model._meta.label for model in models if not describe(model).is_global]
    if not numbered:
        return []
    return [
        checks.Warning(
            f"Two sites can give the same keys to rows of {some_of(numbered, 'models')}: "
            "central takes each from the first one only",
            hint="Give them a UUID primary key, or a unique UUIDField",
            id="sockstream.W101",
        )
    ]


def check_revocations(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> Iterable[checks.CheckMessage]:
    """W103 to W105: the list of revoked certificates is missing, out of date, or not readable."""
    try:
        given = settings()
    except ConfigError:
        return []  # check_models tells it
    if not Path(given.CA).is_file():
        return []
    return [
        checks.Warning(error.words, hint=error.mend, id=f"sockstream.{_REVOCATIONS[error.code]}")
        for error in tls.shortcomings(given.CRL, given.CA)
    ]


def check_homes(
    app_configs: Sequence[AppConfig] | None = None, **_: Any
) -> Iterable[checks.CheckMessage]:
    """W106: a model that a router keeps apart from our tables. E104: no autocommit."""
    try:
        chosen = captured_models(settings())
    except ConfigError:
        return []  # check_models tells it
    apart = partial(checks.Warning, id="sockstream.W106")
    return misplaced(chosen, Offset, apart, autocommit_id="sockstream.E104")


def check_databases(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **_: Any,
) -> Iterable[checks.CheckMessage]:
    """E102: SQLite forgets acked records at a power loss. E103: central cannot use this database.

    W102: readers and the applier wait for each other.
    """
    messages: list[checks.CheckMessage] = []
    for alias in databases or ():
        if router.allow_migrate_model(alias, Offset):
            messages += _check_database(alias)
    return messages


def _check_database(alias: str) -> Iterable[checks.CheckMessage]:
    connection = connections[alias]
    try:
        central = dialect(alias)
    except ConfigError as error:
        yield checks.Error(error.words, hint=error.mend, id="sockstream.E103")
        return
    if not central.is_durable(connection):
        yield checks.Error(
            f"The SQLite database {alias!r} does not wait for the disk at a commit: "
            "after a power loss, central may lack what it has acked",
            hint='Add "PRAGMA synchronous=FULL" to its OPTIONS["init_command"]',
            id="sockstream.E102",
        )
    if journal := central.slow_journal(connection):
        yield checks.Warning(
            f"The SQLite database {alias!r} uses the journal mode {journal}: "
            "readers of central wait while records are applied",
            hint='Add "PRAGMA journal_mode=WAL" to its OPTIONS["init_command"]',
            id="sockstream.W102",
        )


def synchronous_enough(alias: str = DEFAULT_DB_ALIAS) -> bool:
    """Whether a commit of this database survives a power loss, as an ack promises."""
    return dialect(alias).is_durable(connections[alias])
