"""What a database would say of some rows at the commit, asked as soon as they are written.

Django's foreign keys are looked at when the transaction ends. By then nobody knows which record it
was, so after such a failure the records are written once more, and each part of them is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db import connections, router

from sockstream.receiver.applying.faults import shown
from sockstream.receiver.applying.halving import Write
from sockstream.receiver.applying.parts import Part
from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.dialects import Shape, Statements, dialect, statements
from sockstream.rows import Column, Kind, describe
from sockstream.wire.records import BEGIN, DELETE

from .constraints import Broken, stored_shown
from .effects import Meetings
from .holdings import Holdings
from .references import References
from .relations import foreign_keys

Values = Sequence[Any]
Rows = dict[Plan, list[Values]]


def checked(write: Write, holdings: Holdings, using: str, *, require: Callable[[], None]) -> Write:
    """`write`, and then a look at what it wrote. `require` is the writer's.

    Raises Refusal or an IntegrityError if the transaction could not end here. That may be too
    early: a row that is still to come may make it right.
    """

    def write_and_look(parts: Sequence[Part]) -> Meetings:
        written, deleted = _outcome(parts)
        gone = {plan: _primary_keys(plan, rows, using) for plan, rows in deleted.items()}
        meetings = write(parts)
        _require_parents({p: r for p, r in written.items() if not holdings.waits(p.label)}, using)
        for plan, keys in gone.items():
            if not holdings.waits(plan.label):
                _require_no_children(plan, deleted[plan], keys, using)
        _require_the_rest(using)
        require()
        return meetings

    return write_and_look


def is_there(plan: Plan, values: Values, using: str) -> bool:
    """Whether central has the row of a record."""
    columns = [[value] for value in values[: plan.key_width]]
    for number in plan.key_references:
        target = plan.columns[number].target
        assert target is not None
        columns[number] = References(using).local(target, columns[number])
    with connections[using].cursor() as cursor:
        return plan.statements.find(cursor, columns)[0] is not None


def _outcome(parts: Iterable[Part]) -> tuple[Rows, Rows]:
    """The rows that are there after the records, and those that are gone."""
    last: dict[tuple[str, str], tuple[Plan, int, Values]] = {}
    for part in parts:
        for op, index, values in part.records:
            if op >= BEGIN:
                continue
            plan = part.header.plan(index)
            last[plan.label, repr(values[: plan.key_width])] = plan, op, values
    written: Rows = {}
    deleted: Rows = {}
    for plan, op, values in last.values():
        (deleted if op == DELETE else written).setdefault(plan, []).append(values)
    return written, deleted


def _primary_keys(plan: Plan, rows: Iterable[Values], using: str) -> list[Any]:
    names = [values[0] if plan.key_width == 1 else list(values) for values in rows]
    return References(using).local(plan.row, names)


def _require_parents(written: Rows, using: str) -> None:
    for plan, rows in written.items():
        for number, column in enumerate(plan.columns):
            if column.parent and column.kind is not Kind.REFERENCE and column.field.db_constraint:
                pointing = [values for values in rows if values[number] is not None]
                _require(plan, column, pointing, [values[number] for values in pointing], using)


def _require(plan: Plan, column: Column, rows: Sequence[Values], names: Values, using: str) -> None:
    if not names:
        return
    with connections[using].cursor() as cursor:
        found = _parents(using, column.field).find(cursor, [names])
    for values, name, there in zip(rows, names, found, strict=True):
        if there is None:
            raise Broken(
                model=plan.label,
                key=shown(values[: plan.key_width]),
                field=column.name,
                target=str(column.parent),
                missing=shown([name]),
            ).refusal()


def _require_no_children(
    plan: Plan, rows: Sequence[Values], keys: Sequence[Any], using: str
) -> None:
    there = [(values, key) for values, key in zip(rows, keys, strict=True) if key is not None]
    for f in _pointing_to(plan, using) if there else ():
        with connections[using].cursor() as cursor:
            found = _children(using, f).find(cursor, [[key for _, key in there]])
        for (values, _), child in zip(there, found, strict=True):
            if child is not None:
                raise Broken(
                    model=f.model._meta.label_lower,
                    key=stored_shown(child, describe(f.model).key[0].field),
                    field=f.name,
                    target=plan.label,
                    missing=shown(values),
                ).refused_delete()


def _pointing_to(plan: Plan, using: str) -> Iterator[Any]:
    model = plan.row.model
    for f in foreign_keys(model):
        here = router.allow_migrate_model(using, f.model)
        if here and f.target_field.model is model and f.target_field.primary_key:
            yield f


def _require_the_rest(using: str) -> None:
    """PostgreSQL can be asked; SQLite puts nothing off but foreign keys."""
    with connections[using].cursor() as cursor:
        dialect(using).require_constraints(cursor)
        dialect(using).defer_constraints(cursor)


@functools.lru_cache(maxsize=1_000)
def _parents(using: str, f: Any) -> Statements:
    """Finds the rows that a foreign key points to."""
    row = describe(f.target_field.model)
    known = {column.name: column for column in (*row.columns, row.pk) if column is not None}
    target = known[f.target_field.name]
    return statements(Shape(row.table, (target,), wanted=target), connections[using])


@functools.lru_cache(maxsize=1_000)
def _children(using: str, f: Any) -> Statements:
    """Finds the rows whose foreign key points to a primary key."""
    row = describe(f.model)
    known = {column.name: column for column in row.columns}
    return statements(Shape(row.table, (known[f.name],), wanted=row.key[0]), connections[using])
