"""What Django's checks say about a site; docs/checks.md has a line for each id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core import checks
from django.db import connections, models, router

from sockstream import tls
from sockstream.conf import Settings, settings
from sockstream.databases.homes import misplaced
from sockstream.databases.readiness import locks_late
from sockstream.exceptions import ConfigError, some_of
from sockstream.rows import NATURAL_KEYS, Kind, Row, captured_models, describe
from sockstream.tls.revoked import place

from .capture.dialects import DIALECTS
from .capture.layouts import lives_here
from .capture.signals import is_done_by_database
from .models import Capture

Messages = list[checks.CheckMessage]


def check_models(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Messages:
    """E001: the setting. E002: a label in it. E003: a model without a key of its own. W001 to W006:
    what will not travel as one may think."""
    try:
        given = settings()
    except ConfigError as error:
        return [checks.Error(error.words, hint=error.mend, id="sockstream.E001")]
    try:
        chosen = captured_models(given)
    except ConfigError as error:
        return [checks.Error(error.words, hint=error.mend, id="sockstream.E002")]
    found, rows = _check_choice(given, chosen), []
    for model in chosen:
        try:
            rows.append(describe(model))
        except ConfigError as error:
            hint = error.mend or f"Add {model._meta.label!r} to EXCLUDE"
            found.append(checks.Error(error.words, hint=hint, obj=model, id="sockstream.E003"))
    return found + _check_rows(rows)


def check_revocations(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Messages:
    """W010: a list of revoked certificates that says nothing about central. A site needs none."""
    try:
        given = settings()
    except ConfigError:
        return []  # check_models tells it
    if not Path(given.CA).is_file():
        return []
    crl = place(given.CRL, given.CA)
    if not (given.CRL or crl.exists()):
        return []
    return [
        checks.Warning(error.words, hint=error.mend, id="sockstream.W010")
        for error in tls.shortcomings(crl, given.CA)
    ]


def check_homes(app_configs: Sequence[AppConfig] | None = None, **_: Any) -> Messages:
    """W011: models that a router keeps apart from our tables. E005: no autocommit."""
    try:
        chosen = captured_models(settings())
    except ConfigError:
        return []  # check_models tells it
    apart = partial(checks.Warning, id="sockstream.W011")
    return misplaced(chosen, Capture, apart, autocommit_id="sockstream.E005")


def check_databases(
    app_configs: Sequence[AppConfig] | None = None,
    databases: Sequence[str] | None = None,
    **_: Any,
) -> Messages:
    """E004: no triggers there. W007 and W009: SQLite without WAL, and with late locks. W008: what
    fires no trigger on MySQL."""
    try:
        given = settings()
        chosen = captured_models(given)
    except ConfigError:
        return []  # check_models tells it
    found: Messages = []
    for alias in databases or ():
        if lives_here(alias):
            found += _check_database(alias, given, chosen)
    return found


def _check_choice(given: Settings, chosen: list[type[models.Model]]) -> Messages:
    found: Messages = []
    if not chosen:
        found.append(
            checks.Warning(
                'SOCKSTREAM["MODELS"] names no model: nothing is captured',
                hint='Name app labels or models, such as "MODELS": ["polls"]',
                id="sockstream.W001",
            )
        )
    if given.CAPTURE == "signals":
        found.append(
            checks.Warning(
                'SOCKSTREAM["CAPTURE"] is "signals": update(), bulk_create(), bulk_update(), '
                "raw SQL, other programs and cascades of the database are not captured",
                hint='Use "triggers" on SQLite, PostgreSQL, MySQL and MariaDB',
                id="sockstream.W002",
            )
        )
    if unmanaged := [model._meta.label for model in _unmanaged(given)]:
        found.append(
            checks.Warning(
                f"{some_of(unmanaged, 'models')}: not managed by migrations, so not captured",
                hint="Make them managed, or name the app's other models one by one",
                id="sockstream.W003",
            )
        )
    return found


def _unmanaged(given: Settings) -> Iterable[type[models.Model]]:
    labels = {label.lower() for label in given.MODELS} - {label.lower() for label in given.EXCLUDE}
    for model in apps.get_models():
        meta = model._meta
        if not meta.managed and not meta.proxy and {meta.app_label, meta.label_lower} & labels:
            yield model


def _check_rows(rows: Sequence[Row]) -> Messages:
    """One message a kind: a project may have hundreds of models."""
    found: Messages = []
    if numbered := [row.model._meta.label for row in rows if not row.is_global]:
        found.append(
            checks.Warning(
                f"Another site gives the same keys to rows of {some_of(numbered, 'models')}: "
                "central refuses the second site",
                hint="Give them a UUID primary key, or a unique UUIDField beside the integer one",
                id="sockstream.W004",
            )
        )
    travelling = {row.label for row in rows} | NATURAL_KEYS.keys()
    columns = [(row.model._meta.label, column) for row in rows for column in row.columns]
    leading = [
        (f"{label}.{column.name} to {column.parent}", column.parent)
        for label, column in columns
        if column.parent is not None and column.parent not in travelling
    ]
    if leading:
        names, parents = zip(*leading, strict=True)
        found.append(
            checks.Warning(
                f"By {some_of(names, 'fields')}, captured rows point to models that are not "
                "captured: central may lack the rows that they point to",
                hint=f'Add to SOCKSTREAM["MODELS"]: {", ".join(sorted(set(parents)))}',
                id="sockstream.W005",
            )
        )
    if raw := [f"{label}.{column.name}" for label, column in columns if column.kind is Kind.RAW]:
        found.append(
            checks.Warning(
                f"sockstream does not know the type of {some_of(raw, 'fields')}: "
                "values travel as the database writes them",
                hint="Silence this if central's database reads that text as the same value",
                id="sockstream.W006",
            )
        )
    return found


def _check_database(alias: str, given: Settings, chosen: list[type[models.Model]]) -> Messages:
    connection = connections[alias]
    if given.CAPTURE == "triggers" and connection.vendor not in DIALECTS:
        return [
            checks.Error(
                f"Triggers cannot capture on {connection.display_name} (database {alias!r})",
                hint='Set SOCKSTREAM["CAPTURE"] to "signals"',
                id="sockstream.E004",
            )
        ]
    check = _BY_VENDOR.get(connection.vendor)
    here = [model for model in chosen if router.allow_migrate_model(alias, model)]
    return [] if check is None else check(alias, here)


def _check_sqlite(alias: str, chosen: list[type[models.Model]]) -> Messages:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        [journal] = cursor.fetchone()
    if journal == "memory":
        return []  # nobody else is in it
    found: Messages = []
    if journal != "wal":
        found.append(
            checks.Warning(
                f"The SQLite database {alias!r} uses the journal mode {journal}: "
                "its readers and the sender wait for each other",
                hint='Add "PRAGMA journal_mode=WAL" to its OPTIONS["init_command"]',
                id="sockstream.W007",
            )
        )
    if locks_late(alias):
        found.append(
            checks.Warning(
                f"Transactions on the SQLite database {alias!r} take its lock at their first "
                "write: one that has read before is refused if the sender has written since, so "
                "oplog_send does not start",
                hint='Add "transaction_mode": "IMMEDIATE" to its OPTIONS',
                id="sockstream.W009",
            )
        )
    return found


def _check_mysql(alias: str, chosen: list[type[models.Model]]) -> Messages:
    followed = [
        f"{model._meta.label}.{field.name}"
        for model in chosen
        for field in model._meta.local_concrete_fields
        if field.remote_field and is_done_by_database(field.remote_field.on_delete)
    ]
    if not followed:
        return []
    return [
        checks.Warning(
            f"By {some_of(followed, 'foreign keys')}, the database {alias!r} deletes or changes "
            "rows itself: MySQL fires no trigger for them, so they are not captured",
            hint="Use an on_delete that Django carries out, such as CASCADE",
            id="sockstream.W008",
        )
    ]


_BY_VENDOR: dict[str, Callable[[str, list[type[models.Model]]], Messages]] = {
    "sqlite": _check_sqlite,
    "mysql": _check_mysql,
}
