"""Foreign keys, looked at before the transaction ends, where the database cannot do that itself.

MySQL and MariaDB look after each statement, or not at all. A site's records often come in an order
in which a row points, for a while, to one that is not there; so the database is told not to look.
Instead, each value is noted that may be broken: those that a written row points by, and those that
a deleted or changed row was pointed to by. A value is broken if a row has it and no parent does:
it does not matter how that came about. The transaction may not end then.

The database is asked which foreign keys there are, so that one that Django does not know counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import IntegrityError, connections
from django.db.backends.utils import CursorWrapper

from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.dialects import ForeignKey, Known, Shape, dialect, statements
from sockstream.rows import Column

from .memory import Memory
from .references import References

Values = Sequence[Any]

_MOST = 20_000


class ForeignKeys:
    """Notes what may be broken in a stream's transaction. It does nothing where the database looks.

    A bounded number of values is noted. Those that are whole already are dropped; of a foreign key
    with too many others, every row is looked at in the end.
    """

    def __init__(self, using: str, memory: Memory, references: References) -> None:
        self._using = using
        self._memory = memory
        self._references = references
        self._looks = not dialect(using).puts_off_constraints
        self._loaded: Known | None = None

    @contextmanager
    def deleting(
        self, plan: Plan, columns: Sequence[Values], keys: Sequence[Any]
    ) -> Iterator[None]:
        """Rows are deleted meanwhile, given by the columns of their keys, and by their keys (see
        reduce.Net)."""
        if not self._looks:
            yield
            return
        with connections[self._using].cursor() as cursor:
            known = self._known(cursor)
            table = plan.row.table.lower()
            pointed: list[tuple[ForeignKey, Values]] = []
            for key in known.to.get(table, ()):
                values = self._named(key, plan, columns, keys)
                if values is None:
                    values = self._left(cursor, key, plan, columns)
                pointed.append((key, values))
            acts = table in known.acting or table in known.looking
            with dialect(self._using).looking(cursor) if acts else nullcontext():
                yield
            # Not before: what is whole then is not noted any more.
            for key, values in pointed:
                self._note(cursor, key, values)

    @contextmanager
    def writing(self, plan: Plan, columns: Sequence[Values]) -> Iterator[None]:
        """Rows are inserted or updated meanwhile, given by their columns, with local references."""
        if not self._looks:
            yield
            return
        with connections[self._using].cursor() as cursor:
            known = self._known(cursor)
            table = plan.row.table.lower()
            to = known.to.get(table, ())
            pointed = [(key, self._left(cursor, key, plan, columns)) for key in to]
            looks = table in known.looking
            with dialect(self._using).looking(cursor) if looks else nullcontext():
                yield
            for key, values in pointed:
                self._note(cursor, key, values)
            at = {column.column.lower(): n for n, column in enumerate(plan.columns)}
            unsent = {column.column.lower() for column in plan.statements.shape.unsent}
            for key in known.of.get(table, ()):
                if (name := key.column.lower()) in at:
                    number = at[name]
                    values = plan.statements.stored(number, columns[number])
                    self._note(cursor, key, values)
                elif name in unsent:
                    self._memory.suspected.add(key)

    def require(self) -> None:
        """The transaction could end here. Raises IntegrityError if a row points to nothing."""
        if not (self._memory.suspects or self._memory.suspected):
            return
        with connections[self._using].cursor() as cursor:
            for key, values in self._memory.suspects.items():
                _require(cursor, key, list(values))
            for key in self._memory.suspected:
                for some in key.values(cursor):
                    _require(cursor, key, some)
        self._memory.suspects.clear()
        self._memory.suspected.clear()

    def _known(self, cursor: CursorWrapper) -> Known:
        if self._loaded is None:
            self._loaded = dialect(self._using).foreign_keys(cursor)
        return self._loaded

    def _named(
        self, key: ForeignKey, plan: Plan, columns: Sequence[Values], names: Sequence[Any]
    ) -> Values | None:
        """The values by which rows are pointed to, if these are a part of their keys or their
        primary keys, which are never changed."""
        target = key.target.lower()
        for number, column in enumerate(plan.row.key):
            if column.column.lower() == target:
                return plan.statements.stored(number, columns[number])
        if plan.row.pk is not None and plan.row.pk.column.lower() == target:
            return self._references.there(plan.row, names)
        return None

    def _left(
        self, cursor: CursorWrapper, key: ForeignKey, plan: Plan, columns: Sequence[Values]
    ) -> Values:
        """The other values by which rows are pointed to, as they are before a statement."""
        target = key.target.lower()
        for column in (*plan.row.key, plan.row.pk):
            if column is not None and column.column.lower() == target:
                return ()
        for column in plan.row.others:
            if column.column.lower() == target:
                return _find(self._using, plan, column, cursor, columns)
        self._memory.suspected.add(key)
        return ()

    def _note(self, cursor: CursorWrapper, key: ForeignKey, values: Iterable[Any]) -> None:
        if key in self._memory.suspected:
            return
        noted = self._memory.suspects.setdefault(key, set())
        noted.update(value for value in values if value is not None)
        if len(noted) > _MOST:
            broken = key.broken(cursor, key.absent(cursor, list(noted)), one=False)
            self._memory.suspects[key] = set(broken)
            if len(broken) > _MOST // 2:
                del self._memory.suspects[key]
                self._memory.suspected.add(key)


def _require(cursor: CursorWrapper, key: ForeignKey, values: Sequence[Any]) -> None:
    if absent := key.absent(cursor, values):
        for value in key.broken(cursor, absent, one=True):
            raise IntegrityError(
                f"foreign key {key} points to {key.parent}.{key.target} {value}, which is missing"
            )


def _find(
    using: str, plan: Plan, wanted: Column, cursor: CursorWrapper, columns: Sequence[Values]
) -> list[Any]:
    shape = Shape(plan.row.table, plan.row.key, wanted=wanted)
    return statements(shape, connections[using]).find(cursor, columns[: plan.key_width])
