"""What `flush` takes away from under the triggers, put back for less than an installation costs.

A test suite flushes after each TransactionTestCase, and only rows are gone then. Whether the schema
is the one that was installed for, the database tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connections

from sockstream.conf import settings
from sockstream.rows import captured_models
from sockstream.sender.models import CaptureLayout, Installed

from . import installing
from .dialects import DIALECTS, dialect_of

_WRITTEN = (CaptureLayout, Installed)
"""Our tables that an installation fills."""


@dataclass(frozen=True)
class _Remembered:
    state: Any
    rows: tuple[list[Any], ...]


_remembered: dict[str, _Remembered] = {}


def remember(using: str) -> None:
    """To be called after an installation: what it has written, and for which schema."""
    _remembered.pop(using, None)
    if installing.is_ready(using) and (state := _state(using)) is not None:
        rows = tuple(list(model._base_manager.using(using).all()) for model in _WRITTEN)
        _remembered[using] = _Remembered(state, rows)


def put_back(using: str) -> bool:
    """Write that again if it is gone, and nothing else has changed. Returns whether it was so."""
    known = _remembered.get(using)
    if known is None or not installing.is_ready(using) or known.state != _state(using):
        return False
    if any(model._base_manager.using(using).exists() for model in _WRITTEN):
        return False
    for model, rows in zip(_WRITTEN, known.rows, strict=True):
        model._base_manager.using(using).bulk_create(rows)
    return True


def _state(using: str) -> Any:
    """What an installation depends on; None where that cannot be told."""
    connection, wanted = connections[using], settings()
    if connection.vendor not in DIALECTS:
        return None
    given = connection.settings_dict["NAME"], wanted, captured_models(wanted)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA schema_version")
            return *given, cursor.fetchone()
    dialect = dialect_of(connection)
    return *given, dialect.tables, dialect.found()
