"""Captures the rows that are there, some at a time, beside the application's own writes.

A captured row takes its id while the row is locked, so it comes before whatever changes the row
next. On PostgreSQL no lock is waited for while others are held: the application, which may take
them in another order, must not get into a deadlock because of us. Rows that a policy hides from us
are an error, not rows that are gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from django.db import connections
from django.db.models import Q, QuerySet

from sockstream.conf import Settings
from sockstream.sender.models import Capture

from . import layouts
from .dialects import Dialect, dialect_of
from .layouts import Plan
from .reading import Reader
from .row_security import every_row, require, tables_of

Key = Sequence[Any]

P = ParamSpec("P")
T = TypeVar("T")


class Copier(ABC):
    """Captures the rows of one table, `size` in a transaction."""

    def __init__(self, plan: Plan, using: str, size: int) -> None:
        self.plan = plan
        self.using = using
        self.size = size
        self._tables = tables_of(plan.row)

    def require(self) -> None:
        """Raises SockstreamError if not all rows can be read."""
        require(self.using, self._tables)

    def parts(self) -> Iterator[int | None]:
        """Capture all rows; yields how many after each commit, None while others lock a row.

        Raises SockstreamError if not all rows can be read.
        """
        after: Key = ()
        while keys := self._whole(self._keys, after):
            locked = self._whole(self._capture, after, keys)
            after = keys[-1]
            yield len(keys)
            for key in locked:
                while not self._whole(self._capture_one, key):
                    yield None

    def _whole(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with every_row(self.using, self._tables):
            return read(*args, **kwargs)

    @abstractmethod
    def _keys(self, after: Key) -> list[Key]:
        """The next primary keys, in their order."""

    @abstractmethod
    def _capture(self, after: Key, keys: list[Key]) -> list[Key]:
        """Capture the rows behind `after` up to the last key; returns which others have locked."""

    def _capture_one(self, key: Key) -> bool:
        """Capture a row; returns whether that is done, or there is none any more."""
        raise NotImplementedError


class ByStatement(Copier):
    """Where triggers capture: by the statements that they are made of."""

    def __init__(self, plan: Plan, dialect: Dialect, size: int) -> None:
        super().__init__(plan, dialect.connection.alias, size)
        self._dialect = dialect
        columns = dialect.primary_key(plan)
        self._key = ", ".join(columns)
        self._value = ", ".join(["%s"] * len(columns))
        self._select = f"SELECT {self._key} FROM {dialect.table(plan.row.table)} r WHERE"
        self._is = f"({self._key}) = ({self._value})"

    def _keys(self, after: Key) -> list[Key]:
        where = f"({self._key}) > ({self._value})" if after else "1 = 1"
        sql = f"{self._select} {where} ORDER BY {self._key} LIMIT %s"
        return list(self._dialect.execute(sql, [*after, self.size]))

    def _capture(self, after: Key, keys: list[Key]) -> list[Key]:
        condition = f"({self._key}) <= ({self._value})"
        if after:
            condition = f"({self._key}) > ({self._value}) AND {condition}"
        sql = self._dialect.copy(self.plan, condition)
        captured = set(self._dialect.execute(sql, [*after, *keys[-1]]))
        return [key for key in keys if key not in captured] if self._dialect.skips_locked else []

    def _capture_one(self, key: Key) -> bool:
        captured = self._dialect.execute(self._dialect.copy(self.plan, self._is), key)
        return bool(captured) or not self._dialect.execute(f"{self._select} {self._is}", key)


class ByReading(Copier):
    """Where signals capture: through Django."""

    def _keys(self, after: Key) -> list[Key]:
        behind = self._rows.filter(pk__gt=after[0]) if after else self._rows
        return [(pk,) for pk in behind.order_by("pk").values_list("pk", flat=True)[: self.size]]

    def _capture(self, after: Key, keys: list[Key]) -> list[Key]:
        chosen = Q(pk__in=[pk for (pk,) in keys])
        rows = self._rows.filter(chosen).order_by("pk")
        if connections[self.using].features.has_select_for_update:
            list(rows.select_for_update().values_list("pk"))
        else:
            # The lock of a database that locks as a whole comes with the first write.
            Capture.objects.using(self.using).filter(id=0).update(op="S")
        reader = Reader(self.plan.row.model, self.using)
        reader.put(("S", data) for data in reader.rows(chosen).values())
        return []

    @property
    def _rows(self) -> QuerySet[Any]:
        return QuerySet(model=self.plan.row.model, using=self.using)


def copiers(using: str, settings: Settings) -> dict[str, Copier]:
    """What captures the rows of each captured table of database `using`, by the model's label."""
    size = settings.BATCH_RECORDS
    if settings.CAPTURE == "signals":
        plans = layouts.python_plans(settings, using)
        return {plan.row.label: ByReading(plan, using, size) for plan in plans}
    dialect = dialect_of(connections[using])
    plans = layouts.plans(dialect.connection, settings, dialect.tables)
    return {plan.row.label: ByStatement(plan, dialect, size) for plan in plans}
