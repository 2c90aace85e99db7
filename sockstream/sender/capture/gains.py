"""The columns that a run of `migrate` gave to captured tables, and the rows that they changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.conf import settings
from sockstream.rows import Column, Kind
from sockstream.sender.models import CaptureLayout

from . import layouts
from .dialects import Dialect, dialect_of
from .layouts import Plan

_COMPARED = {Kind.INT, Kind.BOOL, Kind.TEXT, Kind.DATE, Kind.UUID, Kind.DURATION}


@dataclass(frozen=True)
class Before:
    """The columns of each captured table, by the model's label, and the layouts stored."""

    columns: Mapping[str, frozenset[str]]
    stored: frozenset[int]


def columns(connection: BaseDatabaseWrapper) -> Before | None:
    """What is captured now; None where triggers capture nothing."""
    given = settings()
    if given.CAPTURE != "triggers":
        return None
    dialect = dialect_of(connection)
    plans = layouts.plans(connection, given, dialect.tables)
    stored = CaptureLayout.objects.using(connection.alias).values_list("id", flat=True)
    return Before(
        {plan.row.label: frozenset(plan.row.key_names + plan.row.other_names) for plan in plans},
        frozenset(stored),
    )


def capture(connection: BaseDatabaseWrapper, before: Before) -> None:
    """Capture the rows whose new columns hold something that central's migration may not give."""
    using = connection.alias
    dialect = dialect_of(connection)
    older = CaptureLayout.objects.using(using)
    with transaction.atomic(using=using):
        for plan in layouts.plans(connection, settings(), dialect.tables):
            others = older.filter(model=plan.row.label).exclude(id=plan.number)
            if plan.number not in before.stored and others.exists():
                known = before.columns.get(plan.row.label, frozenset())
                gained = [column for column in plan.row.columns if column.name not in known]
                _capture_rows(dialect, plan, gained)


def _capture_rows(dialect: Dialect, plan: Plan, gained: list[Column]) -> None:
    if not gained:
        return
    conditions, params = [], []
    for column in gained:
        sql, values = _differs(dialect, column)
        conditions.append(sql)
        params += values
    existing = dialect.existing(plan, "U").replace("%", "%%")
    dialect.execute(f"{existing} WHERE {' OR '.join(conditions)}", params)


def _differs(dialect: Dialect, column: Column) -> tuple[str, list[Any]]:
    """The condition that a row has something else than the constant default in this column."""
    field, sql = column.field, f"r.{dialect.quote(column.column)}".replace("%", "%%")
    default = getattr(field, "db_default", models.NOT_PROVIDED)
    default = getattr(default, "value", default)  # a constant may be wrapped into Value
    if default is models.NOT_PROVIDED:
        default = field.default if field.has_default() else None
    if default is None and not field.null and field.empty_strings_allowed:
        default = ""
    if default is None:
        return f"{sql} IS NOT NULL", []
    if column.kind not in _COMPARED or callable(default) or hasattr(default, "resolve_expression"):
        return "1 = 1", []
    value = field.get_db_prep_save(default, dialect.connection)
    return dialect.distinct(sql), [value]
