"""A site's database in Python: it takes what a real one would take, and captures it."""

from __future__ import annotations

import itertools
import string
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sockstream.rows import Kind
from sockstream.wire.records import DELETE, INSERT, UPDATE, Layout

from .tables import Key, Reference, Table, Unique, Value, Values

KEYS = 4
"""How many keys there are for the rows of a table: few, so that they meet."""

_SPARE = 1_000
"""Values from here on are nobody's for longer than a few writes."""

_DIGITS = string.digits + string.ascii_uppercase


@dataclass(frozen=True)
class Record:
    """One captured write, as `BatchBuilder.add` wants it."""

    op: int
    layout: Layout
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Habits:
    """What transactions of a site may do; without it, they do less of what a database allows.

    `again`: insert a key that they have deleted. `early`: delete a row before those whose keys name
    it. `ahead`: point to a row that is still to come although its key is a reference itself.
    `fickle`: point to a row that then does not come.
    """

    again: bool = True
    early: bool = True
    ahead: bool = True
    fickle: bool = True


@dataclass
class Site:
    """Rows by table and key, and the records of what was written.

    A transaction begins with `begin` and ends with `settle`. Values are as on the wire.
    """

    tables: Mapping[str, Table]
    rows: dict[str, dict[Key, Values]] = field(init=False)
    records: list[Record] = field(default_factory=list)
    habits: Habits = field(default_factory=Habits)

    def __post_init__(self) -> None:
        self.rows = {label: {} for label in self.tables}
        self._gone: set[tuple[str, Key]] = set()
        self._owed: list[tuple[Reference, Value]] = []
        self._spare = itertools.count(_SPARE)

    def begin(self) -> None:
        """A transaction begins."""
        self._gone.clear()
        self._owed.clear()

    # Reading.

    def holders(self, reference: Reference, value: Value) -> list[Key]:
        """The rows that such a reference with this value points to."""
        rows = self.rows[reference.target]
        return [key for key, values in rows.items() if values[reference.named] == value]

    def pointing(self, label: str, key: Key) -> Iterator[tuple[Table, Reference, Key]]:
        """What points to this row: table, reference, and the key of the row that points."""
        mine = self.rows[label][key]
        for table in self.tables.values():
            for reference in table.references:
                if reference.target == label:
                    for other, values in list(self.rows[table.label].items()):
                        if values[reference.name] == mine[reference.named]:
                            yield table, reference, other

    def taken(self, table: Table, key: Key, values: Values, *, late: bool = False) -> list[Unique]:
        """What of this row another one has already, among what is looked at now, or at the end."""
        return [
            unique
            for unique in table.uniques
            if unique.late == late and (mine := unique.of(values)) is not None
            for other, row in self.rows[table.label].items()
            if other != key and unique.of(row) == mine
        ]

    def may_insert(self, table: Table, key: Key) -> bool:
        """Whether this row, which is not there, may come in this transaction."""
        return (table.label, key) not in self._gone or (
            self.habits.again and (self.habits.ahead or not table.is_named_by_another)
        )

    def may_come(self, table: Table) -> bool:
        """Whether something may point to rows of this table before they are there."""
        return self.habits.ahead or not table.is_named_by_another

    # Writing: one statement for one row each.

    def put(self, table: Table, values: Values) -> bool:
        """Insert or update the row; returns whether the database lets it in."""
        key = tuple(values[name] for name in table.key)
        known = key in self.rows[table.label]
        if self.taken(table, key, values) or not (known or self.may_insert(table, key)):
            return False
        self.rows[table.label][key] = dict(values)
        self._owed += [
            (reference, value)
            for reference in table.references
            if (value := values[reference.name]) is not None and not self.holders(reference, value)
        ]
        ordered = tuple(values[name] for name in (*table.layout.keys, *table.layout.others))
        self.records.append(Record(UPDATE if known else INSERT, table.layout, ordered))
        return True

    def change(self, table: Table, key: Key, **changes: Value) -> bool:
        """Update some columns of a row that is there, none of them a part of its key."""
        return self.put(table, self.rows[table.label][key] | changes)

    def remove(self, table: Table, key: Key) -> None:
        """Delete a row. What the database cascades goes before it, and is captured before it."""
        for other, reference, pointing in list(self.pointing(table.label, key)):
            first = reference.in_database or not (
                self.habits.early or reference.name not in other.key
            )
            if not first or pointing not in self.rows[other.label]:
                continue
            if reference.cascades:
                self.remove(other, pointing)
            else:
                self.change(other, pointing, **{reference.name: None})
        self._gone.add((table.label, key))
        del self.rows[table.label][key]
        self.records.append(Record(DELETE, table.layout, key))

    def delete(self, table: Table, key: Key) -> None:
        """Delete a row as Django does: first what has to go with it."""
        collected = self._collect(table, key)
        for label, each in collected:
            if each not in self.rows[label]:
                continue
            for other, reference, pointing in list(self.pointing(label, each)):
                leaves = (other.label, pointing) not in collected
                if leaves and reference.nullable and not reference.cascades:
                    self.change(other, pointing, **{reference.name: None})
        for label, each in reversed(collected):
            if each in self.rows[label]:
                self.remove(self.tables[label], each)

    def _collect(self, table: Table, key: Key) -> list[tuple[str, Key]]:
        collected = [(table.label, key)]
        for label, each in collected:
            for other, reference, pointing in self.pointing(label, each):
                if reference.cascades and (other.label, pointing) not in collected:
                    collected.append((other.label, pointing))
        return collected

    # The end of a transaction.

    def settle(self) -> None:
        """Do what else is needed for a commit: nothing points to a row that is not there."""
        while self._owed and not self.habits.fickle:
            reference, value = self._owed.pop()
            if not self.holders(reference, value):
                self._bring(reference, value)
        while broken := next(self._broken(), None):
            table, key, reference = broken
            if not self._bring(reference, self.rows[table.label][key][reference.name]):
                self._let_go(table, key, reference)
        for table in self.tables.values():
            for key, values in list(self.rows[table.label].items()):
                for unique in self.taken(table, key, values, late=True):
                    self.change(table, key, **{unique.columns[-1]: next(self._spare)})

    def _broken(self) -> Iterator[tuple[Table, Key, Reference]]:
        for table in self.tables.values():
            for reference in table.references:
                for key, values in self.rows[table.label].items():
                    value = values[reference.name]
                    wanted = reference.needed and value is not None
                    if wanted and not self.holders(reference, value):
                        yield table, key, reference

    def _bring(self, reference: Reference, value: Value) -> bool:
        """Insert the row that is missing, if it may come and its key is what it is named by."""
        table = self.tables[reference.target]
        if table.key != (reference.named,) or not self.may_come(table):
            return False
        if not self.may_insert(table, (value,)):
            return False
        made = self.made(table, (value,))
        return made is not None and self.put(table, made)

    def _let_go(self, table: Table, key: Key, reference: Reference) -> None:
        if not reference.nullable or not self.change(table, key, **{reference.name: None}):
            self.remove(table, key)

    def made(self, table: Table, key: Key) -> Values | None:
        """A row with this key and as little else as can be; None if there is no such row."""
        values: Values = dict(zip(table.key, key, strict=True))
        pointing = {reference.name: reference for reference in table.references}
        for column in table.row.others:
            if column.nullable:
                values[column.name] = None
            elif column.name in pointing:
                found = self.choices(pointing[column.name])
                values[column.name] = found[0] if found else None
                if values[column.name] is None:
                    return None
            else:
                values[column.name] = self.spare(table, column.name)
        return values

    def choices(self, reference: Reference) -> list[Value]:
        """What such a reference may be: rows that are there, then such as could come."""
        target = self.tables[reference.target]
        there = [row[reference.named] for row in self.rows[target.label].values()]
        coming: Iterable[Value] = ()
        if target.key == (reference.named,) and self.may_come(target):
            known = keys(self.tables, target)
            coming = (key[0] for key in known if self.may_insert(target, key))
        return list(dict.fromkeys([*there, *coming]))

    def spare(self, table: Table, name: str) -> Value:
        """A value that no other row has."""
        number = next(self._spare)
        if table.columns[name].kind is Kind.INT:
            return number
        high, low = divmod(number - _SPARE, len(_DIGITS))
        return _DIGITS[high] + _DIGITS[low]


def keys(tables: Mapping[str, Table], table: Table) -> list[Key]:
    """All keys that rows of the table may have."""
    place = list(tables).index(table.label)
    parts: list[list[Any]] = []
    for column in table.row.key:
        pointing = next((r for r in table.references if r.name == column.name), None)
        if pointing is not None:
            parts.append([key for (key,) in keys(tables, tables[pointing.target])])
        else:
            parts.append([_part(column.kind, place, number) for number in range(KEYS)])
    return list(itertools.product(*parts))


def _part(kind: Kind, place: int, number: int) -> Value:
    match kind:
        case Kind.UUID:
            return uuid.UUID(int=(place + 1 << 16) + number).bytes
        case Kind.TEXT:
            return f"key {number}"
        case Kind.INT:
            return number + 1
    raise AssertionError(f"no keys of kind {kind}")
