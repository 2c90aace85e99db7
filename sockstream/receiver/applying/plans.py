"""What a layout on the wire means at central: compiled once, used for every batch that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import connections, models, router
from django.db.models import deletion
from django.utils import timezone

from sockstream import columns
from sockstream.exceptions import Refusal
from sockstream.receiver.dialects import Shape, Statements, statements
from sockstream.rows import Column, Kind, Row, describe
from sockstream.wire.records import Layout

_SAME_VERSION = "Bring the models of both ends to the same version, and migrate both"
IN_DATABASE = getattr(deletion, "DatabaseOnDelete", ())


@dataclass(frozen=True, eq=False)
class Plan:
    """How the records of one layout are written.

    `numbers_elsewhere` are the positions of integers that name a row of a model which each database
    numbers by itself, `references` those of the values that name another row and have to become
    local primary keys; `nested` says that a key may hold such a name made of several parts.
    `numbered` inserts rows with a given number, which stands before the unsent values.
    """

    layout: Layout
    row: Row
    columns: tuple[Column, ...]
    statements: Statements
    numbered: Statements | None = None
    unsent: tuple[Callable[[], Any], ...] = ()
    numbers_elsewhere: tuple[int, ...] = field(default=())
    references: tuple[int, ...] = field(default=())
    key_references: tuple[int, ...] = field(default=())
    cascades: bool = False

    @property
    def label(self) -> str:
        return self.row.label

    @property
    def key_width(self) -> int:
        """How many of a record's values are its key."""
        return len(self.row.key)

    @property
    def nested(self) -> bool:
        """Whether a part of the key may be a list."""
        return bool(self.key_references)

    @property
    def only_key(self) -> bool:
        """Whether a row is nothing but its key, so that there is nothing to update."""
        return len(self.columns) == len(self.row.key)

    def defaults(self, count: int) -> list[Sequence[Any]]:
        """Values for `count` new rows of what the site does not send, a column each."""
        return [[default() for _ in range(count)] for default in self.unsent]


def compile_plan(using: str, model: type[models.Model], layout: Layout) -> Plan:
    """The plan for records of `layout` in database `using`.

    Raises Refusal if the layout has a field that the model has not, or another key.
    """
    row = columns.row_here(connections[using], describe(model))
    if not router.allow_migrate_model(using, model):
        raise Refusal(
            "schema-mismatch",
            f"DATABASE_ROUTERS keep {row.label} in another database than {using!r}",
            "Run oplog_receive --database with that one, or remove the model from MODELS",
        )
    if layout.keys != row.key_names:
        raise Refusal(
            "schema-mismatch",
            f"The site names rows of {row.label} by {_listed(layout.keys)}, "
            f"central by {_listed(row.key_names)}",
            _SAME_VERSION,
        )
    others = _others(row, layout)
    unsent = _unsent(row, layout, using)
    shape = Shape(row.table, row.key, others, tuple(unsent))
    sent = row.key + others
    numbered = replace(shape, unsent=(row.number, *unsent)) if row.number else None
    return Plan(
        layout=layout,
        row=row,
        columns=sent,
        statements=statements(shape, connections[using]),
        numbered=statements(numbered, connections[using]) if numbered else None,
        unsent=tuple(unsent.values()),
        numbers_elsewhere=_numbers_elsewhere(row, sent),
        references=_references(sent),
        key_references=_references(row.key),
        cascades=any(
            isinstance(relation.on_delete, IN_DATABASE) for relation in model._meta.related_objects
        ),
    )


def _others(row: Row, layout: Layout) -> tuple[Column, ...]:
    known = {column.name: column for column in row.others}
    for name in layout.others:
        if name not in known:
            raise Refusal(
                "schema-mismatch",
                f"{row.label} has no field {name!r} at central, and the site sends one",
                _SAME_VERSION,
            )
    return tuple(known[name] for name in layout.others)


def _references(columns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(number for number, column in enumerate(columns) if column.kind is Kind.REFERENCE)


def _numbers_elsewhere(row: Row, columns: Sequence[Column]) -> tuple[int, ...]:
    return tuple(
        number
        for number, column in enumerate(columns)
        if column.kind is Kind.INT
        and column.parent not in (None, row.label)
        and column.field.target_field.primary_key
        and not describe(column.field.related_model).is_global
    )


def _unsent(row: Row, layout: Layout, using: str) -> dict[Column, Callable[[], Any]]:
    """Columns that only central has, with what gives their values for a new row."""
    missing = [column for column in row.others if column.name not in layout.others]
    found = {column: _default(column, using) for column in missing}
    return {column: default for column, default in found.items() if default is not None}


def _default(column: Column, using: str) -> Callable[[], Any] | None:
    """What gives Django's default in the form of the database; None where that is for it to do."""
    f = column.field
    if f.db_default is not models.NOT_PROVIDED and not f.has_default():
        return None
    if getattr(f, "auto_now", False) or getattr(f, "auto_now_add", False):
        return lambda: f.get_db_prep_save(_now(f), connection=connections[using])
    if f.null and not f.has_default():
        return None
    if column.kind in (Kind.ARRAY, Kind.HSTORE):
        default: Callable[[], Any] = f.get_default
        return default
    return lambda: f.get_db_prep_save(f.get_default(), connection=connections[using])


def _now(f: Any) -> Any:
    now = timezone.now()
    if isinstance(f, models.DateTimeField):
        return now
    return now.date() if isinstance(f, models.DateField) else now.time()


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
