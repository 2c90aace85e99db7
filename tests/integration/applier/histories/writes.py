"""What a transaction does at a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hypothesis import strategies as st

from sockstream.rows import Kind

from .site import Site, keys
from .tables import Key, Table, Unique, Value, Values

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]

_FEW = 4
_TRIES = 3


@dataclass
class Writer:
    """Draws what is written. Each write leaves a row alone that it may not write."""

    site: Site
    draw: Draw

    def transaction(self) -> None:
        """Some writes, and what else makes them a whole."""
        self.site.begin()
        for _ in range(self.number(1, _FEW)):
            self.one_of(_WRITES)(self)
        self.site.settle()

    # Writes.

    def save(self) -> None:
        """Insert a row, or update it."""
        table = self.table()
        self._save(table, self.one_of(keys(self.site.tables, table)))

    def save_many(self) -> None:
        """Insert or update some rows of a table by one statement each."""
        table = self.table()
        for key in keys(self.site.tables, table)[: self.number(2, 6)]:
            self._save(table, key)

    def delete(self) -> None:
        """Delete a row with what hangs on it."""
        if (found := self.row()) is not None:
            self.site.delete(*found)

    def delete_alone(self) -> None:
        """Delete a row before what points to it, which sees to itself later."""
        if (found := self.row()) is not None:
            self.site.remove(*found)

    def exchange(self) -> None:
        """Pass unique values on in a circle of rows, by way of values that nobody else has."""
        table = self.table()
        here = self.site.rows[table.label]
        if not table.uniques or len(here) < 2:
            return
        unique = self.one_of(table.uniques)
        some = self.some(sorted(here, key=repr))
        before = [dict(here[key]) for key in some]
        for key in some:
            self.site.change(table, key, **self._parking(table, unique))
        for key, values in zip(some, before[1:] + before[:1], strict=True):
            self.site.change(table, key, **{name: values[name] for name in unique.columns})

    def change_key(self) -> None:
        """Give a row another key; what points to it comes along, or not."""
        if (found := self.row()) is None:
            return
        table, key = found
        new = self.one_of(keys(self.site.tables, table))
        if new in self.site.rows[table.label] or not self.site.may_insert(table, new):
            return
        pointing = list(self.site.pointing(table.label, key))
        values = self.site.rows[table.label][key] | dict(zip(table.key, new, strict=True))
        self.site.remove(table, key)
        if not self.site.put(table, values) or self.draw(st.booleans()):
            return
        for other, reference, each in pointing:
            if each in self.site.rows[other.label] and reference.name not in other.key:
                self.site.change(other, each, **{reference.name: values[reference.named]})

    def make_again(self) -> None:
        """An import: delete rows of a table and insert them again, as they were or not."""
        table = self.table()
        here = self.site.rows[table.label]
        if not self.site.habits.again or not here:
            return
        some = self.some(sorted(here, key=repr))
        before = [dict(here[key]) for key in some]
        for key in some:
            if key in here:
                self.site.remove(table, key)
        changed = self.draw(st.booleans())
        for values in before:
            if changed:
                self._save(table, tuple(values[name] for name in table.key))
            else:
                self.site.put(table, values)

    def _save(self, table: Table, key: Key) -> None:
        for _ in range(_TRIES):
            values = self._values(table, key)
            if values is not None and self.site.put(table, values):
                return

    def _values(self, table: Table, key: Key) -> Values | None:
        values: Values = dict(zip(table.key, key, strict=True))
        pointing = {reference.name: reference for reference in table.references}
        for column in table.row.others:
            choices: list[Value] = [None] if column.nullable else []
            if column.name in pointing:
                choices += self.site.choices(pointing[column.name])
            else:
                choices += _choices(column.kind)
            if not choices:
                return None
            values[column.name] = self.one_of(choices)
        return values

    def _parking(self, table: Table, unique: Unique) -> Values:
        """A change of a row that frees what is unique of it."""
        plain = [n for n in unique.columns if not table.columns[n].parent]
        free = [n for n in unique.columns if table.columns[n].nullable]
        if plain and (not free or self.draw(st.booleans())):
            return {plain[-1]: self.site.spare(table, plain[-1])}
        return {free[-1]: None} if free else {}

    # What is drawn.

    def number(self, least: int, most: int) -> int:
        found: int = self.draw(st.integers(least, most))
        return found

    def one_of(self, choices: Sequence[T]) -> T:
        found: T = self.draw(st.sampled_from(choices))
        return found

    def some(self, choices: Sequence[T]) -> list[T]:
        found: list[T] = self.draw(
            st.lists(st.sampled_from(choices), min_size=min(2, len(choices)), unique=True)
        )
        return found

    def table(self) -> Table:
        return self.one_of(list(self.site.tables.values()))

    def row(self) -> tuple[Table, Key] | None:
        """Some row that is there."""
        table = self.table()
        here = sorted(self.site.rows[table.label], key=repr)
        return (table, self.one_of(here)) if here else None


_WRITES: list[Callable[[Writer], None]] = [
    Writer.save,
    Writer.save_many,
    Writer.delete,
    Writer.delete_alone,
    Writer.exchange,
    Writer.change_key,
    Writer.make_again,
]


def _choices(kind: Kind) -> list[Value]:
    match kind:
        case Kind.INT:
            return [1, 2, 3, 4]
        case Kind.BOOL:
            return [False, True]
        case Kind.DATE:
            return ["2026-01-01", "2026-12-31"]
        case Kind.TEXT:
            return ["a", "b", "c"]
    raise AssertionError(f"no values of kind {kind}")
