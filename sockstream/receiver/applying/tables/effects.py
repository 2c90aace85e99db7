"""The net effect of some records, written to central's tables many rows a statement.

Deletes come first, children before parents, so that what they free (a unique value) can be taken
by another row; then updates and inserts, parents before children. If the database itself cascades
deletes, they come last: a child that left its parent in the same group must not go with it. Where
such an order is not the right one, the database refuses; making_way.py says what helps then.

Each statement says how many rows it met. If these are fewer than it was given, the table is looked
at: a row may be there already, or not be there, but none may have been kept out or kept in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.utils import CursorWrapper

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.faults import shown
from sockstream.receiver.applying.plans import Plan
from sockstream.rows import Column, Row, writing_order

from .accounts import require_gone, require_there
from .foreign_keys import ForeignKeys
from .holdings import Holdings
from .making_way import Contests, in_the_way
from .reduce import Net, Values, frozen_key
from .references import References


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
class Table:
    """What the records of one model amount to, and how it is written."""

    plan: Plan
    net: Net


@dataclass(frozen=True, slots=True)
class Context:
    """What a stream's transaction knows of central. `contests` are the models of which rows may be
    in each other's way."""

    references: References
    holdings: Holdings
    foreign_keys: ForeignKeys
    contests: Contests


class Effect:
    """The net effect of some records on its way into the tables.

    `draws`: a row may point to one that is still to come. If not, that is refused. `all_new`: what
    was inserted is taken to be new; if it is not, `write` may raise IntegrityError. `last`: nothing
    is written after it in the transaction, so that nobody will ask for the number of a deleted row.
    """

    def __init__(
        self,
        tables: dict[str, Table],
        context: Context,
        cursor: CursorWrapper,
        *,
        draws: bool,
        all_new: bool = False,
        last: bool = False,
    ) -> None:
        self._tables = tables
        self._contests = context.contests
        self._draws = draws
        self._all_new = all_new
        self._last = last
        self._references = context.references
        self._holdings = context.holdings
        self._foreign_keys = context.foreign_keys
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
            updates, saves, moved = self._make_way(table)
            self._update(table.plan, updates)
            self._insert(table.plan, moved)
            self._meetings.inserts_met += self._insert(table.plan, table.net.inserts())
            self._insert(table.plan, saves)
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
        # A snapshot's generation is for all that it may not take away: also for a row that was
        # changed before its own record came, and so was there already.
        if self._meetings.updates_missed or self._holdings.loads(row.label):
            self._holdings.add(row, net.there(), self._cursor)
        else:
            self._holdings.add(row, net.new(), self._cursor, all_new=self._all_new)

    def _make_way(self, table: Table) -> tuple[list[Values], list[Values], list[Values]]:
        """The rows to update, those to save, and those of both that have to be inserted again."""
        plan, updates, saves = table.plan, table.net.updates(), table.net.saves()
        many = len(updates) + len(saves) > 1
        if not many or not self._contests.concern(plan):
            return updates, saves, []
        moved = in_the_way(plan, [*updates, *saves], self._local, self._cursor)
        self._contests.note(plan, found=bool(moved))
        if not moved:
            return updates, saves, []
        self._references.keep(plan.row, _keys(plan, moved))
        self._delete(plan, [row[: plan.key_width] for row in moved])
        gone = set(map(id, moved))
        return (
            [row for row in updates if id(row) not in gone],
            [row for row in saves if id(row) not in gone],
            moved,
        )

    def _delete_all(self, tables: Sequence[Table]) -> None:
        for table in reversed(tables):
            if deletes := table.net.deletes():
                met = self.delete(table.plan, deletes)
                self._meetings.deletes_missed += len(deletes) - met
            if passing := self._there(table.plan, table.net.passing()):
                self._meetings.inserts_met += self.delete(table.plan, passing)
            if saved := self._there(table.plan, table.net.saved_and_gone()):
                self.delete(table.plan, saved)

    def _there(self, plan: Plan, names: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Those of the keys, by their parts, of which there is a row."""
        if not names:
            return []
        found = plan.statements.find(self._cursor, self._key_columns(plan, names))
        return [name for name, there in zip(names, found, strict=True) if there is not None]

    def delete(self, plan: Plan, names: Sequence[Sequence[Any]]) -> int:
        """Delete the rows with these keys, by their parts; returns how many were there.

        Raises Refusal if one stays.
        """
        if not self._last:
            self._references.keep(plan.row, _keys(plan, names))
        return self._delete(plan, names)

    def _delete(self, plan: Plan, names: Sequence[Sequence[Any]]) -> int:
        columns = self._key_columns(plan, names)
        keys = _keys(plan, names)
        with self._foreign_keys.deleting(plan, columns, keys):
            met = plan.statements.delete(self._cursor, columns)
        self._references.forget(plan.label, keys)
        if met < len(names):
            require_gone(plan, columns, names, self._cursor)
        return met

    def _key_columns(self, plan: Plan, names: Sequence[Sequence[Any]]) -> list[Values]:
        columns: list[Values] = list(zip(*names, strict=True))
        for number in plan.key_references:
            columns[number] = self._local(plan.columns[number], columns[number])
        return columns

    def _update(self, plan: Plan, rows: list[Values]) -> None:
        if not rows:
            return
        columns, ready, late = self._columns(plan, rows)
        if late:
            self._late.append((plan, late))
        if not ready:
            return
        with self._foreign_keys.writing(plan, columns):
            found = 0 if plan.only_key else plan.statements.update(self._cursor, columns)
            if found < len(ready):
                added = self._add(plan, columns, ready)
                self._meetings.updates_missed += added
                if found + added < len(ready):
                    require_there(plan, columns, ready, self._cursor)
        if found < len(ready):
            self._came(plan, ready)

    def _insert(self, plan: Plan, rows: list[Values]) -> int:
        """Insert the rows, or update those that are there; returns how many these were."""
        met = 0
        while rows:
            columns, ready, late = self._columns(plan, rows)
            if not ready:
                columns, ready, late = self._columns(plan, rows, at_once=True)
            with self._foreign_keys.writing(plan, columns):
                added = self._add(plan, columns, ready)
                if added < len(ready):
                    met += len(ready) - added
                    found = 0 if plan.only_key else plan.statements.update(self._cursor, columns)
                    if found < len(ready):
                        require_there(plan, columns, ready, self._cursor)
            self._came(plan, ready)
            written = set(map(id, ready))
            if late:
                self._late.append((plan, [row for row in late if id(row) in written]))
            rows = [row for row in rows if id(row) not in written]
        return met

    def _came(self, plan: Plan, rows: Sequence[Values]) -> None:
        """The rows are there, if one of them was not before."""
        if self._references.stands_in(plan.row):
            self._references.came(plan.row, _keys(plan, rows))

    def _add(self, plan: Plan, columns: Sequence[Values], rows: Sequence[Values]) -> int:
        """Insert the rows, which are given by columns too; returns how many were not there."""
        if plan.numbered is None or not self._references.reserves(plan.row):
            insert = plan.statements.insert_new if self._all_new else plan.statements.insert
            return insert(self._cursor, [*columns, *plan.defaults(len(rows))])
        numbers = self._references.reserved(plan.row, _keys(plan, rows))
        free = [at for at, number in enumerate(numbers) if number is None]
        taken = [at for at, number in enumerate(numbers) if number is not None]
        added = 0
        if free:
            values = [*_chosen(columns, free), *plan.defaults(len(free))]
            added += plan.statements.insert(self._cursor, values)
        if taken:
            values = [*_chosen(columns, taken), [numbers[at] for at in taken]]
            added += plan.numbered.insert(self._cursor, [*values, *plan.defaults(len(taken))])
        return added

    def _columns(
        self, plan: Plan, rows: list[Values], *, at_once: bool = False
    ) -> tuple[list[Values], list[Values], list[Values]]:
        """The rows by columns with local references, which rows these are, and which come again.

        A row waits if it points to one that is written later, but not if all have to go `at_once`.
        Where the reference can be NULL it is so for the time being.
        """
        columns: list[Values] = list(zip(*rows, strict=True))
        waiting: set[int] = set()
        late: set[int] = set()
        for number in plan.references:
            names, column = columns[number], plan.columns[number]
            columns[number] = found = self._local(column, names)
            if found.count(None) > names.count(None):
                missing = [
                    at for at, pk in enumerate(found) if pk is None and names[at] is not None
                ]
                coming = set() if at_once else self._coming(column, names, missing)
                self._draw(plan, column, names, found, [at for at in missing if at not in coming])
                (late if column.nullable else waiting).update(coming)
        ready = rows
        if waiting:
            keep = [at for at in range(len(rows)) if at not in waiting]
            columns = _chosen(columns, keep)
            ready = [rows[at] for at in keep]
        return columns, ready, [rows[at] for at in sorted(late | waiting)]

    def _local(self, column: Column, names: Values) -> list[Any]:
        assert column.target is not None
        return self._references.local(column.target, names)

    def _coming(self, column: Column, names: Values, missing: Iterable[int]) -> set[int]:
        """Which of the missing are written here, later."""
        table = self._tables.get(column.parent or "")
        if self._all_written or table is None:
            return set()
        last = table.net.last
        return {at for at in missing if last.get(frozen_key([names[at]])[0]) is not None}

    def _draw(
        self, plan: Plan, column: Column, names: Values, found: list[Any], absent: list[int]
    ) -> None:
        """Put the numbers of the absent into `found`. Raises Refusal if none can be drawn."""
        if not absent:
            return
        assert column.target is not None
        wanted = [names[at] for at in absent]
        numbers = self._references.draw(column.target, wanted) if self._draws else None
        if numbers is None:
            raise _missing(plan, column, wanted[0])
        for at, number in zip(absent, numbers, strict=True):
            found[at] = number


def _keys(plan: Plan, rows: Iterable[Sequence[Any]]) -> list[Any]:
    """The keys (see reduce.Net) that these rows begin with."""
    frozen = [frozen_key(row[: plan.key_width]) for row in rows]
    return [key[0] for key in frozen] if plan.key_width == 1 else frozen


def _chosen(columns: Sequence[Values], places: Sequence[int]) -> list[Values]:
    """Some rows, by columns."""
    if len(places) == len(columns[0]):
        return list(columns)
    return [[values[at] for at in places] for values in columns]


def _missing(plan: Plan, column: Column, name: Any) -> Refusal:
    return Refusal(
        "missing-reference",
        f"{column.name!r} of {plan.label} points to {column.parent} {shown([name])}, "
        "which central does not have",
        f"Let the site send {column.parent} too",
    )
