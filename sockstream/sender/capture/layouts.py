"""What is captured of each table, and the stored layouts that say so."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.conf import Settings
from sockstream.rows import KINDS, Column, Kind, Row, captured_models, describe
from sockstream.sender.models import Capture, CaptureLayout

from .decode import VERSION
from .tables import Tables

_PYTHON = {"vendor": "python", "zone": "UTC"}
"""What layouts say whose rows are read through Django instead of by a trigger."""
PIECE = 100
"""How many items one JSON function call takes: PostgreSQL's limit, and below SQLite's."""
Stored = Callable[[Row], Row]
"""Gives a row with each column as it is stored."""


@dataclass(frozen=True)
class Plan:
    """What is captured of one table as it is now, under the layout `number`."""

    row: Row
    has_pk: bool
    number: int
    definition: Mapping[str, Any]

    @property
    def items(self) -> int:
        """How many items a captured row has."""
        return _length(self.row, self.has_pk)


def plans(connection: BaseDatabaseWrapper, settings: Settings, tables: Tables) -> list[Plan]:
    """The plans of the captured models whose tables are in this database."""
    found = (
        describe(model)
        for model in captured_models(settings)
        if router.allow_migrate_model(connection.alias, model)
    )
    cut = (_as_present(row, tables) for row in found)
    database = _database(connection)
    stored = tables.stored_row
    return [_plan(stored(row), database, PIECE, stored) for row in cut if row is not None]


def python_plans(settings: Settings, using: str) -> list[Plan]:
    """The plans of the capture by signals."""
    models = captured_models(settings)
    return [
        python_plan(describe(model)) for model in models if router.allow_migrate_model(using, model)
    ]


@functools.cache
def python_plan(row: Row) -> Plan:
    """The plan of rows that are read through Django."""
    return _plan(row, _PYTHON, None, _as_declared)


def lives_here(using: str) -> bool:
    """Whether the sender's tables belong into this database."""
    return router.allow_migrate_model(using, Capture)


def store(using: str, wanted: Sequence[Plan]) -> None:
    """Make the layouts that are not stored yet."""
    layouts = CaptureLayout.objects.using(using)
    known = set(layouts.values_list("id", "digest"))
    texts = [_canonical(plan.definition) for plan in wanted]
    layouts.bulk_create(
        CaptureLayout(id=plan.number, digest=_digest(text), model=plan.row.label, definition=text)
        for plan, text in zip(wanted, texts, strict=True)
        if (plan.number, _digest(text)) not in known
    )


def unstored(using: str, wanted: Sequence[Plan]) -> list[str]:
    """In words, which plans have no stored layout."""
    known = set(CaptureLayout.objects.using(using).values_list("id", flat=True))
    return [
        f"the layout of {plan.row.label} is missing" for plan in wanted if plan.number not in known
    ]


def local_kind(column: Column) -> Kind:
    """The kind of a translated reference's own value, as it is stored here."""
    field = column.field
    while field.remote_field:
        field = field.target_field
    return KINDS.get(field.get_internal_type(), Kind.RAW)


def local_column(column: Column) -> Column:
    """A translated reference as the plain column that it is here."""
    return replace(column, kind=local_kind(column), parent=None)


def _plan(row: Row, database: Mapping[str, str], piece: int | None, stored: Stored) -> Plan:
    has_pk = _is_pointed_to(row)
    wide = piece is not None and _length(row, has_pk) > piece
    definition = _definition(row, database, stored, has_pk=has_pk, wide=wide)
    return Plan(row, has_pk, _number(_canonical(definition)), definition)


def _is_pointed_to(row: Row) -> bool:
    """Whether a captured row has to carry its local primary key for those that refer to it."""
    if row.pk is None or row.model._meta.auto_created:
        return False
    return row.local_pk is not None or any(part.kind is Kind.REFERENCE for part in row.key)


def _as_present(row: Row, tables: Tables) -> Row | None:
    """The row less the columns that the table has not got (yet): between two migrations."""
    pk = [] if row.pk is None else [row.pk.column]
    if not tables.has(row.table, *pk, *(part.column for part in row.key)):
        return None
    others = (part for part in row.others if tables.has(row.table, part.column))
    return replace(row, others=tuple(others))


def _length(row: Row, has_pk: bool) -> int:
    references = sum(column.kind is Kind.REFERENCE for column in row.columns)
    return len(row.columns) + references + has_pk


def reference_shape(target: Row) -> tuple[dict[str, Any], dict[str, str]]:
    """The shape of a reference to a row of `target` that is read through Django, and what else a
    converter has to know."""
    return {"kind": Kind.REFERENCE.value, "parts": _shapes(target.key, _as_declared)}, _PYTHON


def _database(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """What the captured texts depend on."""
    postgresql = connection.vendor == "postgresql"
    zone = "UTC" if postgresql else connection.timezone_name
    return {"vendor": connection.vendor, "zone": zone}


def _definition(
    row: Row, database: Mapping[str, str], stored: Stored, *, has_pk: bool, wide: bool
) -> dict[str, Any]:
    return {
        **database,
        "version": VERSION,
        "model": row.label,
        "keys": len(row.key),
        "columns": _shapes(row.columns, stored),
        "pk": has_pk,
        "wide": wide,
    }


def _shape(column: Column, stored: Stored) -> dict[str, Any]:
    shape: dict[str, Any] = {"name": column.name, "kind": column.kind.value}
    if column.kind is Kind.DECIMAL:
        shape["places"] = column.places
    if column.base is not None:
        shape["base"] = _shape(column.base, stored)
    if (target := column.target) is not None:
        shape["target"] = target.label
        shape["parts"] = _shapes(stored(target).key, stored)
    return shape


def _shapes(columns: Iterable[Column], stored: Stored) -> list[dict[str, Any]]:
    return [_shape(column, stored) for column in columns]


def _as_declared(row: Row) -> Row:
    """What is read through Django is what its fields say."""
    return row


def _canonical(definition: Mapping[str, Any]) -> str:
    return json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=32).hexdigest()


def _number(text: str) -> int:
    """The layout's id: from what it says, so that it is the same after the tables were emptied."""
    return int(_digest(text)[:8], 16) >> 1 or 1
