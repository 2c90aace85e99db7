"""Statements on our own tables that run for every commit, without Django's compiler.

It takes longer to write such a statement than the database does to run it. Names are those of the
models' fields, and values go through the fields.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field

Model = type[models.Model]


def select(
    model: Model, names: Sequence[str], where: str, params: Sequence[Any], using: str
) -> list[tuple[Any, ...]]:
    """The values of these fields, as the driver gives them, of the rows that `where` leaves.

    In `where`, a field stands as `{name}`. Raises Django's database errors.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_select(model, tuple(names), where, using), params)
        return list(cursor.fetchall())


def update(
    model: Model,
    changes: Mapping[str, Any],
    where: Mapping[str, Any],
    using: str,
    *,
    more: Mapping[str, int] | None = None,
    also: str = "",
) -> int:
    """Set `changes`, and count up by `more`, where the fields have these values.

    `also` is a condition more, in which a field stands as in `select`. Returns how many rows there
    are. Raises Django's database errors.
    """
    more = more or {}
    sql = _update(model, tuple(changes), tuple(more), tuple(where), using, also)
    params = [*_values(model, changes, using), *more.values(), *_values(model, where, using)]
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def insert(model: Model, values: Mapping[str, Any], using: str) -> None:
    """Add a row; the fields that are not named get the database's own default.

    Raises Django's database errors.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_insert(model, tuple(values), using), list(_values(model, values, using)))


@functools.cache
def _select(model: Model, names: Sequence[str], where: str, using: str) -> str:
    quoted = _quoted(model, (field.attname for field in model._meta.concrete_fields), using)
    wanted = ", ".join(quoted[name] for name in names)
    return f"SELECT {wanted} FROM {_table(model, using)} WHERE {where.format_map(quoted)}"


@functools.cache
def _update(
    model: Model,
    changes: Sequence[str],
    more: Sequence[str],
    where: Sequence[str],
    using: str,
    also: str,
) -> str:
    quoted = _quoted(model, (*changes, *more, *where), using)
    sets = [f"{quoted[name]} = %s" for name in changes]
    sets += [f"{quoted[name]} = {quoted[name]} + %s" for name in more]
    same = " AND ".join(f"{quoted[name]} = %s" for name in where)
    if also:
        same += f" AND {also.format_map(quoted)}"
    return f"UPDATE {_table(model, using)} SET {', '.join(sets)} WHERE {same}"


@functools.cache
def _insert(model: Model, names: Sequence[str], using: str) -> str:
    columns = ", ".join(_quoted(model, names, using).values())
    marks = ", ".join(["%s"] * len(names))
    return f"INSERT INTO {_table(model, using)} ({columns}) VALUES ({marks})"


def _table(model: Model, using: str) -> str:
    return connections[using].ops.quote_name(model._meta.db_table)


def _quoted(model: Model, names: Iterable[str], using: str) -> dict[str, str]:
    quote = connections[using].ops.quote_name
    return {name: quote(str(_field(model, name).column)) for name in names}


def _values(model: Model, values: Mapping[str, Any], using: str) -> Iterable[Any]:
    connection: BaseDatabaseWrapper = connections[using]
    for name, value in values.items():
        yield _field(model, name).get_db_prep_save(value, connection)


@functools.cache
def _field(model: Model, name: str) -> Field[Any, Any]:
    return next(field for field in model._meta.concrete_fields if field.attname == name)
