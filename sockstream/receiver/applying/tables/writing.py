"""The records of one stream on their way into central's tables.

A snapshot is one group. Of what comes of a model before its rows do, only the deletes are written:
the rows come as they are then. At its end, and as soon as one of them is in the way of a row, the
stream's rows that the snapshot has not brought (yet) are deleted. Those that it brings yet come
back with the numbers that they had, so that what points to them need not come again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.backends.utils import CursorWrapper

from sockstream.receiver.applying.parts import Part, runs
from sockstream.receiver.applying.plans import IN_DATABASE, Plan
from sockstream.receiver.dialects import dialect
from sockstream.wire.records import BEGIN, LOAD

from .claims import Claims, Unexpected
from .constraints import Broken, find_pointing
from .effects import Context, Effect, Meetings, Table
from .foreign_keys import ForeignKeys
from .holdings import Holdings
from .making_way import Contests
from .memory import Memory
from .numbers import Numbers
from .origin import of_a_stream
from .reduce import Net, reduce
from .references import References

_NO_NET = Net()
# Below, a savepoint costs more than looking for rows that are there.
_MANY = 200

IsParked = Callable[[str, Sequence[Any]], bool]
"""Whether the row of a model with a key of these parts has parked records."""


@dataclass(frozen=True, slots=True)
class _How:
    """How some records are written: see `Writer.write` and `Effect`."""

    draws: bool
    last: bool
    quick: bool


class Writer:
    """Writes the records of one stream. It holds no transaction and no connection."""

    def __init__(
        self, source: str, stream: str, using: str, is_parked: IsParked | None = None
    ) -> None:
        self._memory = Memory()
        self._using = using
        self._is_parked = is_parked or (lambda label, key: False)
        self.holdings = Holdings(source, stream, using, self._memory)
        self._contests = Contests()
        self._numbers = Numbers(self.holdings, using, self._memory)
        self._references = References(using, self._memory, self._numbers)
        self._foreign_keys = ForeignKeys(using, self._memory, self._references)
        self._claims = Claims(source, stream, using, self._memory, self.holdings, self._references)

    def forget(self) -> None:
        """The transaction, or a part of it, was rolled back, or nobody knows: look again."""
        self._memory.forget()

    def committed(self) -> None:
        """The transaction has ended well."""
        self._memory.committed()

    def finish(self) -> None:
        """The caller's transaction is about to end.

        Raises Refusal or IntegrityError if a row points to nothing.
        """
        if (broken := self.broken()) is not None:
            raise broken.refusal()
        self.require()
        self._numbers.clear()
        self._claims.finish()

    def require(self) -> None:
        """Look at the foreign keys now, if the database cannot. Raises IntegrityError."""
        self._foreign_keys.require()

    def broken(self, *, deleted: bool = False, constrained: bool = False) -> Broken | None:
        """A row that points to one that has not come.

        With `deleted`, also one that points to a row that was deleted: it may come again after a
        cut. At an end it does not, and where no foreign key is `constrained` that is as it stands
        at the site.
        """
        for row, keys in self._numbers.open(deleted=deleted):
            found = find_pointing(row, keys, self._using, constrained=constrained)
            if found is not None:
                return found
        return None

    def write(
        self,
        parts: Iterable[Part],
        *,
        whole: bool = False,
        last: bool = False,
        quick: bool = False,
    ) -> Meetings:
        """Write the records in the caller's transaction, which is to end with `finish`.

        `whole`: a row may only point to what is there when they are written. `last`: nothing else
        is written in the transaction. `quick`: take central's rows for what the site's records
        expect, and refuse if they are not. Raises Refusal, RecordFault, or the errors of Django's
        databases.
        """
        meetings = Meetings()
        coming = list(runs(parts))
        for number, run in enumerate(coming, 1):
            with of_a_stream(self._using) as cursor:
                if run[0].has_marks:
                    self._mark(run[0], cursor)
                else:
                    ends = last and number == len(coming)
                    how = _How(draws=not whole, last=ends, quick=quick)
                    meetings.add(self._write(run, cursor, how))
        return meetings

    def _write(self, run: Sequence[Part], cursor: CursorWrapper, how: _How) -> Meetings:
        tables = self._reduced(run)
        self._claims.share(tables, cursor)
        for table in tables.values():
            self._claims.require_meaning(table, run)
        loading = [table.plan for label, table in tables.items() if self.holdings.loads(label)]
        if not (loading or any(map(self.holdings.waits, tables))):
            return self._write_new(tables, run, cursor, how)
        self._claims.judge(tables, run, cursor)
        effect = partial(self._effect, tables, cursor, draws=how.draws)
        try:
            with transaction.atomic(using=self._using):
                effect().write()
        except IntegrityError:
            self.forget()
            for plan in loading:
                if not self._takes_along(plan.row.model):
                    self._sweep(plan, cursor)
            effect().write()
        return Meetings()  # what central should have had is not known before the snapshot's end

    def _write_new(
        self, tables: dict[str, Table], run: Sequence[Part], cursor: CursorWrapper, how: _How
    ) -> Meetings:
        """Many at once are written in a savepoint: what a site inserts is new at central too, what
        it changes is its own, and unique values are rarely swapped. All that is looked for only if
        it is not so. Of few, the caller tries smaller parts or the same again."""
        count = sum(len(table.net.last) for table in tables.values())
        if count < _MANY:
            write = self._as_expected if how.quick else partial(self._carefully, run=run)
            try:
                return write(tables, cursor, how=how)
            except IntegrityError:
                if count > 1:
                    self._contests.suspect(table.plan for table in tables.values())
                raise
        all_new = dialect(self._using).inserts_new and not any(map(self._claims.is_shared, tables))
        try:
            with transaction.atomic(using=self._using):
                return self._as_expected(tables, cursor, how, all_new=all_new)
        except Unexpected:
            self.forget()
        except IntegrityError:
            self.forget()
            contested = self._contests.suspect(table.plan for table in tables.values())
            if not (contested or all_new):
                raise
        return self._carefully(tables, cursor, how, run)

    def _as_expected(
        self, tables: dict[str, Table], cursor: CursorWrapper, how: _How, *, all_new: bool = False
    ) -> Meetings:
        self._claims.expect(tables, cursor)
        effect = self._effect(tables, cursor, draws=how.draws, last=how.last, all_new=all_new)
        meetings = effect.write()
        if meetings.inserts_met:
            raise Unexpected
        return meetings

    def _carefully(
        self, tables: dict[str, Table], cursor: CursorWrapper, how: _How, run: Sequence[Part]
    ) -> Meetings:
        equal = self._claims.judge(tables, run, cursor)
        meetings = self._effect(tables, cursor, draws=how.draws, last=how.last).write()
        meetings.inserts_met -= equal
        return meetings

    def _takes_along(self, model: Any) -> bool:
        """Whether the database takes away, with the model's rows, what the snapshot may not bring
        again."""
        taken = [r for r in model._meta.related_objects if isinstance(r.on_delete, IN_DATABASE)]
        return not all(self.holdings.waits(r.related_model._meta.label_lower) for r in taken)

    def _mark(self, mark: Part, cursor: CursorWrapper) -> None:
        [(op, index, _)] = mark.records
        plan = mark.header.plan(index)
        self._claims.claim(plan)
        if op == BEGIN:
            self.holdings.begin(plan.label)
        elif op == LOAD:
            self.holdings.load(plan.label)
        else:
            self._sweep(plan, cursor)
            self.holdings.end(plan.label)

    def _sweep(self, plan: Plan, cursor: CursorWrapper) -> None:
        """Delete the stream's rows that the snapshot has not brought, if none of it is parked."""
        effect = self._effect({}, cursor)
        while stale := self.holdings.take_stale(plan.row, cursor):
            parked = [key for key in stale if self._is_parked(plan.label, key)]
            self.holdings.add(plan.row, _named(plan, parked), cursor)
            staying = self._claims.kept_by_others(plan, _named(plan, stale))
            staying.update(_named(plan, parked))
            named = zip(stale, _named(plan, stale), strict=True)
            if gone := [key for key, name in named if name not in staying]:
                effect.delete(plan, gone)

    def _effect(
        self,
        tables: dict[str, Table],
        cursor: CursorWrapper,
        *,
        draws: bool = False,
        all_new: bool = False,
        last: bool = False,
    ) -> Effect:
        return Effect(
            tables,
            Context(self._references, self.holdings, self._foreign_keys, self._contests),
            cursor,
            draws=draws,
            all_new=all_new,
            last=last,
        )

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
            if self.holdings.waits(label):
                table.net.keep_gone()
        return tables

    def _table(self, plan: Plan) -> Table:
        self._claims.claim(plan)
        return Table(plan, Net(plan.key_width, plan.nested))


def _named(plan: Plan, keys: Iterable[Sequence[Any]]) -> list[Any]:
    """Keys by their parts as reduce.Net has them."""
    return [key[0] if plan.key_width == 1 else key for key in keys]
