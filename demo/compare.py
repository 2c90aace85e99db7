"""Two databases compared: every row of every model by its key, every field as the ORM reads it.

What is local to a database is left out: an integer primary key beside a global key, and the local
values of references, which are compared by the key of what they point to. Memory stays flat, as
long as the databases are equal: rows are read in portions, and looked up by key at the other end.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Model, Q, QuerySet

from sockstream.rows import Column, Kind, Row, describe

# With keys of three parts it stays below the 999 parameters that an old SQLite takes.
PORTION = 250

PRESENT = "a row"
ABSENT = "no row"
_IS_NULL = "sql_null_"


@dataclass(frozen=True)
class Difference:
    """One field that is not alike; or, if `field` is "", a row that only one end has.

    In that case `site` and `central` are PRESENT and ABSENT, or the other way round.
    """

    model: str
    key: tuple[Any, ...]
    field: str
    site: Any
    central: Any

    def __str__(self) -> str:
        name = f"{self.model} {', '.join(map(str, self.key))}"
        if not self.field:
            return f"{name}: {self.site} at the site, {self.central} at central"
        return f"{name}: {self.field} is {self.site!r} at the site, {self.central!r} at central"


class _JSONNull:
    """What a JSON null is compared as: the ORM reads it as None, as it does an SQL NULL."""

    def __repr__(self) -> str:
        return "JSON null"


JSON_NULL = _JSONNull()


def compare(models: Iterable[type[Model]], site_alias: str, central_alias: str) -> list[Difference]:
    """Everything in which the rows of `models` differ between two databases; [] if nothing.

    `models` are such as `sockstream.rows.captured_models` gives. Nobody should write meanwhile.
    """
    return [found for model in models for found in differences(model, site_alias, central_alias)]


def counts(models: Iterable[type[Model]], alias: str) -> dict[str, int]:
    """How many rows each of the models has in a database, by label."""
    return {model._meta.label_lower: model._base_manager.using(alias).count() for model in models}


def differences(model: type[Model], site_alias: str, central_alias: str) -> Iterator[Difference]:
    """The same as `compare` for one model, one at a time."""
    table = _Table(describe(model))
    for portion in _portions(table.rows(site_alias)):
        there = dict(table.split(row) for row in table.rows(central_alias, portion))
        for key, values in map(table.split, portion):
            if key not in there:
                yield Difference(table.label, key, "", PRESENT, ABSENT)
                continue
            for field, here, other in zip(table.fields, values, there[key], strict=True):
                if not same(here, other):
                    yield Difference(table.label, key, field, here, other)
    for portion in _portions(table.keys(central_alias)):
        known = set(table.keys(site_alias, portion))
        for key in portion:
            if key not in known:
                yield Difference(table.label, key, "", ABSENT, PRESENT)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: nan equals nan, bytes a memoryview, True is not 1."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


class _Table:
    """How the rows of one model are read: the ORM's paths to the key, then to the other fields."""

    def __init__(self, row: Row) -> None:
        self.label = row.label
        self.manager = row.model._base_manager
        self.key_paths = [path for column in row.key for path in _paths(column)]
        paths = {path: column.kind for column in row.others for path in _paths(column)}
        # A generated column is not sent, but it has to come out the same.
        generated = [f for f in row.model._meta.local_concrete_fields if f.generated]
        self.fields = [*paths, *(f.attname for f in generated)]
        self.json = [path for path, kind in paths.items() if kind is Kind.JSON]

    def keys(self, alias: str, among: Sequence[tuple[Any, ...]] = ()) -> Iterator[tuple[Any, ...]]:
        """The keys in a database; with `among`, those of them that are there."""
        return self._read(self._query(alias, among).values_list(*self.key_paths))

    def rows(self, alias: str, among: Sequence[tuple[Any, ...]] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows in a database; with `among`, those that have the keys of these rows."""
        nulls = {
            f"{_IS_NULL}{number}": ExpressionWrapper(
                Q((f"{path}__isnull", True)), output_field=BooleanField()
            )
            for number, path in enumerate(self.json)
        }
        query = self._query(alias, among).annotate(**nulls)
        return self._read(query.values_list(*self.key_paths, *self.fields, *nulls))

    def split(self, row: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[Any]]:
        """A row as its key and its other values, a JSON null told apart from an SQL NULL."""
        keys = len(self.key_paths)
        values = list(row[keys : keys + len(self.fields)])
        for path, is_null in zip(self.json, row[keys + len(self.fields) :], strict=True):
            place = self.fields.index(path)
            if values[place] is None and not is_null:
                values[place] = JSON_NULL
        return row[:keys], values

    def _query(self, alias: str, among: Sequence[tuple[Any, ...]]) -> QuerySet[Any]:
        query: QuerySet[Any] = self.manager.using(alias).order_by()
        if not among:
            return query
        if len(self.key_paths) == 1:
            return query.filter((f"{self.key_paths[0]}__in", [row[0] for row in among]))
        named = (Q(*zip(self.key_paths, row, strict=False)) for row in among)
        return query.filter(reduce(operator.or_, named))

    @staticmethod
    def _read(query: QuerySet[Any]) -> Iterator[tuple[Any, ...]]:
        for row in query.iterator(chunk_size=PORTION):
            yield tuple(map(_plain, row))


def _paths(column: Column) -> list[str]:
    """The path to a column's value, or to the parts of the key that a reference points to."""
    if column.kind is not Kind.REFERENCE:
        return [column.field.attname]
    target = column.target
    assert target is not None
    return [f"{column.name}__{path}" for part in target.key for path in _paths(part)]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _portions(rows: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while portion := list(islice(rows, PORTION)):
        yield portion
