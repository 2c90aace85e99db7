"""Rows that make way: two that swap a unique value, or more that pass some on in a circle.

No order of updates writes a circle, so a row that holds a value which another row of the same
records wants is deleted, and inserted again when the others are updated: its record has the whole
row. That is looked for only where the database has refused a model's values lately.

Not found are constraints with a condition or an expression, NULLs that count as equal, and rows
that wait for others. Their records are written in ever smaller parts, in their own order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.backends.utils import CursorWrapper

from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.dialects import Shape, Statements, dialect_of, statements
from sockstream.rows import Column, Kind

from .reduce import Values

Local = Callable[[Column, Values], Sequence[Any]]
"""The local primary keys of the rows with these names, which a column of references points to."""

# How many more times a model is looked at after a refusal, and after rows have made way.
_SUSPECTED = 4
_CONTESTED = 64


class Contests:
    """Which models may have rows in each other's way. The memory lapses when there are none."""

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}

    def suspect(self, plans: Iterable[Plan]) -> bool:
        """The database refused rows of these models; returns whether there is more to look at now
        than there was when they were written."""
        fresh = [p.label for p in plans if unique_sets(p) and not self._looks.get(p.label)]
        self._looks.update(dict.fromkeys(fresh, _SUSPECTED))
        return bool(fresh)

    def concern(self, plan: Plan) -> bool:
        """Whether to look at rows of this model."""
        return bool(self._looks.get(plan.label)) and bool(unique_sets(plan))

    def note(self, plan: Plan, *, found: bool) -> None:
        """Rows of this model were looked at."""
        left = _CONTESTED if found else self._looks[plan.label] - 1
        self._looks[plan.label] = left


@functools.lru_cache(maxsize=1_000)
def unique_sets(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """The positions of the values that are unique together, without those that are the key."""
    meta = plan.row.model._meta
    sets = [(f.name,) for f in meta.local_concrete_fields if f.unique]
    sets += [tuple(names) for names in meta.unique_together]
    sets += [
        tuple(constraint.fields)
        for constraint in meta.total_unique_constraints
        if constraint.deferrable is None
    ]
    at = {column.name: number for number, column in enumerate(plan.columns)}
    return tuple(
        tuple(at[name] for name in names)
        for names in dict.fromkeys(sets)
        if set(names) != set(plan.row.key_names) and all(name in at for name in names)
    )


def in_the_way(
    plan: Plan, rows: Sequence[Values], local: Local, cursor: CursorWrapper
) -> list[Values]:
    """Those of the rows that hold a unique value which another one of them is to get.

    Empty if rows of this table can't be inserted again as they were.
    """
    width = plan.key_width
    holders: set[tuple[Any, ...]] = set()
    columns: dict[int, Values] = {}
    for places in unique_sets(plan):
        for at in {*places, *range(width)} - columns.keys():
            columns[at] = [row[at] for row in rows]
            if at in plan.references:
                columns[at] = local(plan.columns[at], columns[at])
        full = [n for n in range(len(rows)) if all(columns[at][n] is not None for at in places)]
        if full:
            given = [[columns[at][n] for n in full] for at in (*places, *range(width))]
            finder = _finder(cursor.db.alias, plan, places)
            holders.update(_name(plan, held) for held in finder.holders(cursor, given))
    if not holders:
        return []
    if not dialect_of(cursor.db).can_come_again(cursor, plan.row.table, _kept(plan)):
        return []
    names = zip(*(columns[at] for at in range(width)), strict=True)
    return [row for name, row in zip(names, rows, strict=True) if name in holders]


def _name(plan: Plan, held: Sequence[Any]) -> tuple[Any, ...]:
    """A stored key as it is on the wire; its references stay local."""
    return tuple(
        _FORMS.get(column.kind, str)(value)
        for column, value in zip(plan.row.key, held, strict=True)
    )


def _uuid(value: Any) -> Any:
    try:
        return value.bytes if isinstance(value, UUID) else UUID(value).bytes
    except (ValueError, AttributeError, TypeError):
        return value


def _same(value: Any) -> Any:
    return value


_FORMS: dict[Kind, Callable[[Any], Any]] = {
    Kind.UUID: _uuid,
    Kind.ANY: _same,
    Kind.BINARY: bytes,
    Kind.INT: _same,
    Kind.REFERENCE: _same,
}


def _kept(plan: Plan) -> set[str]:
    """The columns whose values a row has again: sent, numbered, or generated from others."""
    generated = {f.column for f in plan.row.model._meta.local_fields if getattr(f, "generated", 0)}
    number = {plan.row.number.column} if plan.row.number else set()
    return {column.column for column in plan.columns} | number | generated


@functools.lru_cache(maxsize=1_000)
def _finder(using: str, plan: Plan, places: tuple[int, ...]) -> Statements:
    unique = tuple(plan.columns[at] for at in places)
    return statements(Shape(plan.row.table, unique, plan.row.key), connections[using])
