"""The records of one stream on their way into central's tables.

A snapshot is one group. Of what comes of a model before its rows do, only the deletes are written:
the rows come as they are then. At its end, and as soon as one of them is in the way of a row, the
stream's rows that the snapshot has not brought (yet) are deleted. Those that it may bring yet come
back with the numbers that they had, so that what points to them need not come again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import IntegrityError, connections, transaction
from django.db.backends.utils import CursorWrapper

from sockstream.receiver.applying.parts import Part, runs
from sockstream.receiver.applying.plans import IN_DATABASE, Plan
from sockstream.rows import Row
from sockstream.wire.records import BEGIN, LOAD

from .constraints import Broken, find_pointing
from .effects import Effect, Meetings, Table
from .holdings import Holdings
from .numbers import Numbers
from .owners import Owners
from .reduce import Net, reduce
from .references import References

_NO_NET = Net()
# Below, a savepoint costs more than looking for rows that are there.
_MANY = 200

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
        self._numbers = Numbers(holdings, using)
        self._references = References(using, self._numbers)

    def forget(self) -> None:
        """What is remembered may be rolled back: look again."""
        self._owners.forget()
        self._holdings.forget()
        self._references.forget_all()

    def finish(self) -> None:
        """The caller's transaction is about to end. Raises Refusal if a row points to nothing."""
        if (broken := self.broken()) is not None:
            raise broken.refusal()
        self._numbers.clear()

    def broken(self) -> Broken | None:
        """A row that points to one that has not come."""
        for row, keys in self._numbers.open():
            if (found := find_pointing(row, keys, self._using)) is not None:
                return found
        return None

    def write(self, parts: Iterable[Part], *, whole: bool = False) -> Meetings:
        """Write the records in the caller's transaction, which is to end with `finish`.

        `whole`: a row may only point to what is there when they are written. Raises Refusal, or
        the errors of Django's databases.
        """
        meetings = Meetings()
        for run in runs(parts):
            with connections[self._using].cursor() as cursor:
                if run[0].has_marks:
                    self._mark(run[0], cursor)
                else:
                    meetings.add(self._write(run, cursor, draws=not whole))
        return meetings

    def _write(self, run: Sequence[Part], cursor: CursorWrapper, *, draws: bool) -> Meetings:
        tables = self._reduced(run)
        loading = [table.plan for label, table in tables.items() if self._holdings.loads(label)]
        if not (loading or any(map(self._holdings.waits, tables))):
            return self._write_new(tables, cursor, draws=draws)
        try:
            with transaction.atomic(using=self._using):
                self._effect(tables, cursor, draws=draws).write()
        except IntegrityError:
            self.forget()
            for plan in loading:
                if not self._takes_along(plan.row.model):
                    self._sweep(plan, cursor, to_come=True)
            self._effect(tables, cursor, draws=draws).write()
        return Meetings()  # what central should have had is not known before the snapshot's end

    def _write_new(
        self, tables: dict[str, Table], cursor: CursorWrapper, *, draws: bool
    ) -> Meetings:
        """What a site inserts is new at central too, but for rare exceptions: where that saves
        work, look for them only if the database finds one."""
        count = sum(len(table.net.last) for table in tables.values())
        if cursor.db.vendor == "postgresql" and count >= _MANY:
            try:
                with transaction.atomic(using=self._using):
                    return self._effect(tables, cursor, draws=draws, all_new=True).write()
            except IntegrityError:
                self.forget()
        return self._effect(tables, cursor, draws=draws).write()

    def _takes_along(self, model: Any) -> bool:
        """Whether the database takes away, with the model's rows, what the snapshot may not bring
        again."""
        taken = [r for r in model._meta.related_objects if isinstance(r.on_delete, IN_DATABASE)]
        return not all(self._holdings.waits(r.related_model._meta.label_lower) for r in taken)

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

    def _sweep(self, plan: Plan, cursor: CursorWrapper, *, to_come: bool = False) -> None:
        """Delete the stream's rows that the snapshot has not brought, if none of it is parked.

        `to_come`: it may still bring them, so that they keep their numbers.
        """
        effect = self._effect({}, cursor)
        while stale := self._holdings.take_stale(plan.row, cursor):
            spared = [key for key in stale if self._is_parked(plan.label, key)]
            single = plan.key_width == 1
            self._holdings.add(plan.row, [k[0] if single else k for k in spared], cursor)
            if gone := [key for key in stale if not self._is_parked(plan.label, key)]:
                if to_come:
                    self._keep_numbers(plan.row, [k[0] if single else k for k in gone])
                effect.delete(plan, gone)

    def _keep_numbers(self, row: Row, keys: Sequence[Any]) -> None:
        if row.number is None:
            return
        numbers = dict(zip(keys, self._references.local(row, keys), strict=True))
        there = {key: number for key, number in numbers.items() if number is not None}
        self._numbers.keep(row, list(there), list(there.values()))

    def _effect(
        self,
        tables: dict[str, Table],
        cursor: CursorWrapper,
        *,
        draws: bool = False,
        all_new: bool = False,
    ) -> Effect:
        references, holdings = self._references, self._holdings
        return Effect(tables, references, holdings, cursor, draws=draws, all_new=all_new)

    def _reduced(self, run: Sequence[Part]) -> dict[str, Table]:
        tables: dict[str, Table] = {}
        for part in run:
            nets: list[Net] = []
            for label, (index,) in part.layouts.items():
                table = tables.get(label) or self._table(part.header.plan(index))
                tables[label] = table
                nets += [_NO_NET] * (index + 1 - len(nets))
                nets[index] = table.net
            reduce(part.records, nets)
        for label, table in tables.items():
            if self._holdings.waits(label):
                table.net.keep_gone()
        return tables

    def _table(self, plan: Plan) -> Table:
        self._owners.claim(plan)
        return Table(plan, Net(plan.key_width, plan.nested))
