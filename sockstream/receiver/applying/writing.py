"""Records written to central's tables by their net effect, many rows a statement.

Deletes come first, children before parents, so that what they free (a unique value) can be taken
by another row; then updates and inserts, parents before children. If the database itself cascades
deletes, they come last: a child that left its parent in the same group must not go with it. Where
such an order is not the right one (two rows that swap a unique value), the database refuses, and
the caller writes smaller parts in their own order.

A snapshot is one group. What comes of a model before its rows do is left out, since they come as
they are then. At its end, and as soon as one of them is in the way of a row, the stream's rows that
the snapshot has not brought (yet) are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import IntegrityError, connections, transaction
from django.db.backends.utils import CursorWrapper

from ...rows import Column, Row, writing_order
from ...wire.records import BEGIN, LOAD, Layout
from .faults import Refusal, shown
from .holdings import Holdings
from .owners import Owners
from .plans import Header, Plan
from .reduce import Net, Values, frozen_key, reduce
from .references import References


@dataclass(frozen=True)
class Part:
    """Records of one batch with consecutive sequence numbers."""

    header: Header
    first_seq: int
    records: Sequence[Sequence[Any]]

    @cached_property
    def layouts(self) -> dict[str, set[int]]:
        """The models that the records are of, with the indexes of their layouts."""
        found: dict[str, set[int]] = {}
        for index in {record[1] for record in self.records}:
            found.setdefault(self.header.layout(index).label, set()).add(index)
        return found

    @cached_property
    def has_marks(self) -> bool:
        """Whether a snapshot begins or ends among the records."""
        return any(record[0] >= BEGIN for record in self.records)

    def slice(self, start: int, end: int) -> Part:
        """Some of the records."""
        return Part(self.header, self.first_seq + start, self.records[start:end])


@dataclass(slots=True)
class Meetings:
    """How often a record met what it should not: somebody else wrote these rows at central."""

    inserts_met: int = 0
    updates_missed: int = 0
    deletes_missed: int = 0

    def add(self, other: Meetings) -> None:
        """Count the meetings of `other` too."""
        self.inserts_met += other.inserts_met
        self.updates_missed += other.updates_missed
        self.deletes_missed += other.deletes_missed


@dataclass(slots=True)
class _Table:
    plan: Plan
    net: Net


_NO_NET = Net()

IsParked = Callable[[str, Sequence[Any]], bool]
"""Whether the row of a model with a key of these parts has parked records."""


class Writer:
    """Writes the records of one stream. It holds no transaction and no connection."""

    def __init__(
        self, owners: Owners, holdings: Holdings, using: str, is_parked: IsParked | None = None
    ) -> None:
        self._owners = owners
        self._holdings = holdings
        self._is_parked = is_parked or (lambda label, key: False)
        self._using = using
        self._references = References(using)

    def forget(self) -> None:
        """What is remembered may be rolled back: look again."""
        self._owners.forget()
        self._holdings.forget()
        self._references.forget_all()

    def write(self, parts: Iterable[Part]) -> Meetings:
        """Write the records in the caller's transaction.

        Raises Refusal, or the errors of Django's databases.
        """
        meetings = Meetings()
        for run in _runs(parts):
            with connections[self._using].cursor() as cursor:
                if run[0].has_marks:
                    self._mark(run[0], cursor)
                else:
                    meetings.add(self._write(run, cursor))
        return meetings

    def _write(self, run: Sequence[Part], cursor: CursorWrapper) -> Meetings:
        tables = self._reduced(run)
        loading = [table.plan for label, table in tables.items() if self._holdings.loads(label)]
        if not loading:
            return self._run(tables, cursor).write()
        try:
            with transaction.atomic(using=self._using):
                self._run(tables, cursor).write()
        except IntegrityError:
            self._references.forget_all()
            for plan in loading:
                self._sweep(plan, cursor)
            self._run(tables, cursor).write()
        return Meetings()  # what central should have had is not known before the snapshot's end

    def _mark(self, mark: Part, cursor: CursorWrapper) -> None:
        [(op, index, _)] = mark.records
        plan = mark.header.plan(index)
        self._owners.claim(plan)
        if op == BEGIN:
            self._holdings.begin(plan.label)
        elif op == LOAD:
            self._holdings.load(plan.label)
        else:
            self._sweep(plan, cursor)
            self._holdings.end(plan.label)

    def _sweep(self, plan: Plan, cursor: CursorWrapper) -> None:
        """Delete the stream's rows that the snapshot has not brought, if none of it is parked."""
        run = self._run({}, cursor)
        while stale := self._holdings.take_stale(plan.row, cursor):
            spared = [key for key in stale if self._is_parked(plan.label, key)]
            single = plan.key_width == 1
            self._holdings.add(plan.row, [k[0] if single else k for k in spared], cursor)
            if gone := [key for key in stale if not self._is_parked(plan.label, key)]:
                run.delete(plan, gone)

    def _run(self, tables: dict[str, _Table], cursor: CursorWrapper) -> _Run:
        return _Run(tables, self._references, self._holdings, cursor)

    def _reduced(self, run: Sequence[Part]) -> dict[str, _Table]:
        tables: dict[str, _Table] = {}
        for part in run:
            nets: list[Net] = []
            for label, (index,) in part.layouts.items():
                table = tables.get(label) or self._table(part.header.plan(index))
                if not self._holdings.waits(label):
                    tables[label] = table
                nets += [_NO_NET] * (index + 1 - len(nets))
                nets[index] = table.net
            reduce(part.records, nets)
        return tables

    def _table(self, plan: Plan) -> _Table:
        self._owners.claim(plan)
        return _Table(plan, Net(plan.key_width, plan.nested))


def _runs(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """The parts, cut where a model's layout changes: a net effect needs one layout a model."""
    run: list[Part] = []
    layouts: dict[str, Layout] = {}
    for part in _pure(parts):
        if part.has_marks:
            yield from ([run] if run else [])
            yield [part]
            run, layouts = [], {}
            continue
        here = {label: part.header.layout(min(ids)) for label, ids in part.layouts.items()}
        if any(layouts.get(label, layout) != layout for label, layout in here.items()):
            yield run
            run, layouts = [], {}
        run.append(part)
        layouts.update(here)
    if run:
        yield run


def _pure(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts; by records those with two layouts of a model, after a migration at the site, and
    those with marks."""
    for part in parts:
        if part.has_marks or any(len(indexes) > 1 for indexes in part.layouts.values()):
            yield from (part.slice(at, at + 1) for at in range(len(part.records)))
        else:
            yield part


class _Run:
    """The net effect of some records on its way into the tables."""

    def __init__(
        self,
        tables: dict[str, _Table],
        references: References,
        holdings: Holdings,
        cursor: CursorWrapper,
    ) -> None:
        self._tables = tables
        self._references = references
        self._holdings = holdings
        self._cursor = cursor
        self._meetings = Meetings()
        self._late: list[tuple[Plan, list[Values]]] = []
        self._all_written = False

    def write(self) -> Meetings:
        ordered = writing_order(table.plan.row for table in self._tables.values())
        tables = [self._tables[row.label] for row in ordered]
        deletes_last = any(table.plan.cascades for table in tables)
        if not deletes_last:
            self._delete_all(tables)
        for table in tables:
            self._update(table.plan, table.net.updates())
            self._meetings.inserts_met += self._insert(table.plan, table.net.inserts())
            self._insert(table.plan, table.net.saves())
        self._all_written = True
        for plan, rows in self._late:
            self._update(plan, rows)
        if deletes_last:
            self._delete_all(tables)
        for table in tables:
            self._note(table.plan.row, table.net)
        return self._meetings

    def _note(self, row: Row, net: Net) -> None:
        self._holdings.remove(row, net.gone(), self._cursor)
        new = net.new()
        if self._meetings.updates_missed:
            new += map(net.key, net.updates())
        self._holdings.add(row, new, self._cursor)

    def _delete_all(self, tables: Sequence[_Table]) -> None:
        for table in reversed(tables):
            if deletes := table.net.deletes():
                met = self.delete(table.plan, deletes)
                self._meetings.deletes_missed += len(deletes) - met
            if passing := table.net.passing():
                self._meetings.inserts_met += self.delete(table.plan, passing)
            if saved := table.net.saved_and_gone():
                self.delete(table.plan, saved)

    def delete(self, plan: Plan, names: Sequence[Sequence[Any]]) -> int:
        """Delete the rows with these keys, by their parts; returns how many were there."""
        columns: list[Values] = list(zip(*names, strict=True))
        for number in plan.key_references:
            columns[number] = self._local(plan.columns[number], columns[number])
        self._references.forget(plan.label, (frozen_key(name)[0] for name in names))
        return plan.statements.delete(self._cursor, columns)

    def _update(self, plan: Plan, rows: list[Values]) -> None:
        if not rows:
            return
        columns, ready, late = self._columns(plan, rows)
        if late:
            self._late.append((plan, late))
        if not ready:
            return
        found = 0 if plan.only_key else plan.statements.update(self._cursor, columns)
        if found < len(ready):
            self._meetings.updates_missed += self._add(plan, columns)

    def _insert(self, plan: Plan, rows: list[Values]) -> int:
        """Insert the rows, or update those that are there; returns how many these were."""
        met = 0
        while rows:
            columns, ready, late = self._columns(plan, rows)
            if not ready:
                raise Refusal(
                    "missing-reference",
                    f"Rows of {plan.label} point to each other in a circle that can't be NULL",
                )
            added = self._add(plan, columns)
            if added < len(ready):
                met += len(ready) - added
                if not plan.only_key:
                    plan.statements.update(self._cursor, columns)
            written = set(map(id, ready))
            if late:
                self._late.append((plan, [row for row in late if id(row) in written]))
            rows = [row for row in rows if id(row) not in written]
        return met

    def _add(self, plan: Plan, columns: Sequence[Values]) -> int:
        rows = [*columns, *plan.defaults(len(columns[0]))]
        return plan.statements.insert(self._cursor, rows)

    def _columns(
        self, plan: Plan, rows: list[Values]
    ) -> tuple[list[Values], list[Values], list[Values]]:
        """The rows by columns with local references, which rows these are, and which come again.

        A row waits if it points to one that is written later. Where the reference can be NULL it
        is so for the time being.
        """
        columns: list[Values] = list(zip(*rows, strict=True))
        waiting: set[int] = set()
        late: set[int] = set()
        for number in plan.references:
            names, column = columns[number], plan.columns[number]
            columns[number] = self._local(column, names)
            if columns[number].count(None) > names.count(None):
                unknown = self._unknown(plan, column, names, columns[number])
                (late if column.nullable else waiting).update(unknown)
        ready = rows
        if waiting:
            keep = [at for at in range(len(rows)) if at not in waiting]
            columns = [[values[at] for at in keep] for values in columns]
            ready = [rows[at] for at in keep]
        return columns, ready, [rows[at] for at in sorted(late | waiting)]

    def _local(self, column: Column, names: Values) -> list[Any]:
        assert column.target is not None
        return self._references.local(column.target, names)

    def _unknown(self, plan: Plan, column: Column, names: Values, found: Values) -> Iterator[int]:
        """Which rows point to what is not there yet. Raises Refusal if it never will be."""
        coming = self._tables.get(column.parent or "")
        for at, (name, pk) in enumerate(zip(names, found, strict=True)):
            if pk is None and name is not None:
                key = frozen_key([name])[0]
                if self._all_written or coming is None or coming.net.last.get(key) is None:
                    raise _missing(plan, column, name)
                yield at


def _missing(plan: Plan, column: Column, name: Any) -> Refusal:
    return Refusal(
        "missing-reference",
        f"{column.name!r} of {plan.label} points to {column.parent} {shown([name])}, "
        "which central does not have",
        f"Let the site send {column.parent} too",
    )
