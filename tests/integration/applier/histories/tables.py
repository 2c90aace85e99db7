"""What a site's database knows of a model: its key, what is unique, what points where."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import deletion

from sockstream.rows import Column, Kind, Row, describe
from sockstream.wire.records import Layout

Value = Any
Key = tuple[Value, ...]
Values = dict[str, Value]

IN_DATABASE = tuple(
    getattr(models, name) for name in ("DB_CASCADE", "DB_SET_NULL") if hasattr(models, name)
)
CASCADES = (deletion.CASCADE, *IN_DATABASE[:1])


@dataclass(frozen=True)
class Unique:
    """Columns whose values no two rows share, if none is NULL and `only` holds of both rows.

    `late`: the database looks at the end of the transaction.
    """

    columns: tuple[str, ...]
    only: tuple[tuple[str, Value], ...] = ()
    late: bool = False

    def of(self, values: Mapping[str, Value]) -> Key | None:
        """What must not be there twice; None if this row may be like any other."""
        if any(values[name] != wanted for name, wanted in self.only):
            return None
        found = tuple(values[name] for name in self.columns)
        return None if None in found else found


@dataclass(frozen=True)
class Reference:
    """A column that names a row of `target` by the value of its column `named`.

    `needed`: the row has to be there when a transaction ends. Where the database does not look,
    but central numbers the row by itself, a site would send NULL for a row that is not there.
    """

    name: str
    target: str
    named: str
    needed: bool
    nullable: bool
    on_delete: Any

    @property
    def cascades(self) -> bool:
        """Whether the row goes with the one that it points to."""
        return self.on_delete in CASCADES

    @property
    def in_database(self) -> bool:
        """Whether it is the database that sees to it."""
        return self.on_delete in IN_DATABASE


@dataclass(frozen=True)
class Table:
    """A table at the site."""

    row: Row
    layout: Layout
    uniques: tuple[Unique, ...]
    references: tuple[Reference, ...]

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def key(self) -> tuple[str, ...]:
        return self.row.key_names

    @property
    def columns(self) -> dict[str, Column]:
        return {column.name: column for column in self.row.columns}

    @property
    def is_named_by_another(self) -> bool:
        """Whether its rows are called as those that they point to."""
        return any(column.kind is Kind.REFERENCE for column in self.row.key)


def tables(labels: Iterable[str]) -> dict[str, Table]:
    """The tables of these models and of their automatic many-to-many relations, by label."""
    found = [_table(model) for label in labels for model in _models(label)]
    return {table.label: table for table in found}


def _models(label: str) -> Iterator[type[models.Model]]:
    model = apps.get_model(label)
    yield model
    for m2m in model._meta.local_many_to_many:
        through: Any = m2m.remote_field.through
        if through._meta.auto_created:
            yield through


@functools.cache
def _table(model: type[models.Model]) -> Table:
    row = describe(model)
    return Table(
        row=row,
        layout=Layout(row.label, row.key_names, row.other_names),
        uniques=tuple(_uniques(model, row)),
        references=tuple(_reference(column) for column in row.columns if column.parent),
    )


def _uniques(model: type[models.Model], row: Row) -> Iterator[Unique]:
    for column in row.others:
        if column.field.unique:
            yield Unique((column.name,))
    if model._meta.auto_created:
        return  # its key says so
    for names in model._meta.unique_together:
        yield Unique(tuple(names))
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            condition = constraint.condition
            only: Any = tuple(condition.children) if condition is not None else ()
            yield Unique(tuple(constraint.fields), only, late=constraint.deferrable is not None)


def _reference(column: Column) -> Reference:
    f = column.field
    translated = column.kind is Kind.REFERENCE
    return Reference(
        name=column.name,
        target=column.parent or "",
        named=column.target.key[0].name if column.target else f.target_field.name,
        needed=translated or f.db_constraint,
        nullable=f.null,
        on_delete=f.remote_field.on_delete,
    )
