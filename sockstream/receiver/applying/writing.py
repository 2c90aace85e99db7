"""The records of one stream on their way into central's tables.

A snapshot is one group. Of what comes of a model before its rows do, only the deletes are written:
the rows come as they are then. At its end, and as soon as one of them is in the way of a row, the
stream's rows that the snapshot has not brought (yet) are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.db import IntegrityError, connections, transaction
from django.db.backends.utils import CursorWrapper

from ...wire.records import BEGIN, LOAD
from .effects import Effect, Meetings, Table
from .holdings import Holdings
from .owners import Owners
from .parts import Part, runs
from .plans import Plan
from .reduce import Net, reduce
from .references import References

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
        self._coming: dict[str, Plan] = {}

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
        for run in runs(parts):
            with connections[self._using].cursor() as cursor:
                if run[0].has_marks:
                    self._mark(run[0], cursor)
                else:
                    meetings.add(self._write(run, cursor))
        return meetings

    def _write(self, run: Sequence[Part], cursor: CursorWrapper) -> Meetings:
        tables = self._reduced(run)
        loading = [table.plan for label, table in tables.items() if self._holdings.loads(label)]
        if not (loading or any(map(self._holdings.waits, tables))):
            return self._effect(tables, cursor).write()
        try:
            with transaction.atomic(using=self._using):
                self._effect(tables, cursor).write()
        except IntegrityError:
            self._references.forget_all()
            for plan in loading:
                self._make_way(plan, cursor)
            self._effect(tables, cursor).write()
        return Meetings()  # what central should have had is not known before the snapshot's end

    def _mark(self, mark: Part, cursor: CursorWrapper) -> None:
        [(op, index, _)] = mark.records
        plan = mark.header.plan(index)
        self._owners.claim(plan)
        if op == BEGIN:
            self._coming[plan.label] = plan
            self._holdings.begin(plan.label)
        elif op == LOAD:
            self._holdings.load(plan.label)
        else:
            self._sweep(plan, cursor)
            self._holdings.end(plan.label)

    def _make_way(self, plan: Plan, cursor: CursorWrapper) -> None:
        """Sweep the plan's rows, and before them those whose keys name such rows: without them
        nobody could say any more which rows those are."""
        for other in self._coming.values():
            targets = (other.columns[number].target for number in other.key_references)
            if any(target is not None and target.label == plan.label for target in targets):
                self._make_way(other, cursor)
        self._sweep(plan, cursor)

    def _sweep(self, plan: Plan, cursor: CursorWrapper) -> None:
        """Delete the stream's rows that the snapshot has not brought, if none of it is parked."""
        effect = self._effect({}, cursor)
        while stale := self._holdings.take_stale(plan.row, cursor):
            spared = [key for key in stale if self._is_parked(plan.label, key)]
            single = plan.key_width == 1
            self._holdings.add(plan.row, [k[0] if single else k for k in spared], cursor)
            if gone := [key for key in stale if not self._is_parked(plan.label, key)]:
                effect.delete(plan, gone)

    def _effect(self, tables: dict[str, Table], cursor: CursorWrapper) -> Effect:
        return Effect(tables, self._references, self._holdings, cursor)

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
