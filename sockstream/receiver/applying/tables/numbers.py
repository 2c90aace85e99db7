"""Local numbers of rows that are not there: of those to come, and of those that were deleted.

Central names some rows by an integer of its own. One rule gives these numbers: a row that is
deleted keeps its number until the transaction ends, and whoever points to a row that is not there
draws one for it. The row gets that number when it comes, so that whatever points to it goes on
doing so. MySQL draws none: it looks at foreign keys after each statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.models import QuerySet

from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Reserved
from sockstream.rows import Row

from .holdings import Holdings, Key, stored_key, stored_names
from .memory import Memory

_AT_ONCE = 500


class Numbers:
    """The numbers that a stream's open transaction has reserved, noted in it until it ends."""

    def __init__(self, holdings: Holdings, using: str, memory: Memory) -> None:
        self._holdings = holdings
        self._using = using
        self._memory = memory

    def reserves(self, row: Row) -> bool:
        """Whether rows like this one may have a number reserved."""
        return row.label in self._memory.numbered

    def of(self, row: Row, keys: Sequence[Any]) -> list[int | None]:
        """The reserved number of each row with one of these keys (see reduce.Net), or None."""
        if not self.reserves(row):
            return [None] * len(keys)
        names, _ = stored_names(row, keys)
        known: dict[str, int] = {}
        for some in _slices(names):
            found = self._reserved(row).filter(name__in=some)
            known |= {name.hex: number for name, number in found.values_list("name", "number")}
        return [known.get(name) for name in names]

    def draw(self, row: Row, keys: Sequence[Any]) -> list[int] | None:
        """Reserve a new number for each row with one of these keys; None if that can't be done."""
        central = dialect(self._using)
        if row.number is None or not central.puts_off_constraints:
            return None
        wanted = list(dict.fromkeys(keys))
        with connections[self._using].cursor() as cursor:
            numbers = central.next_numbers(cursor, row.table, row.number.column, len(wanted))
        self._reserve(row, wanted, numbers, drawn=True)
        drawn = dict(zip(wanted, numbers, strict=True))
        return [drawn[key] for key in keys]

    def keep(self, row: Row, keys: Sequence[Any], numbers: Sequence[int | None]) -> None:
        """Rows with these keys are deleted; None for the number of one that was not there."""
        there = [(key, n) for key, n in zip(keys, numbers, strict=True) if n is not None]
        if there:
            self._reserve(row, [key for key, _ in there], [n for _, n in there], drawn=False)

    def _reserve(
        self, row: Row, keys: Sequence[Any], numbers: Sequence[int], *, drawn: bool
    ) -> None:
        holding = self._holdings.id_of(row.label)
        names, packed = stored_names(row, keys)
        if self.reserves(row):
            for some in _slices(names):
                self._reserved(row).filter(name__in=some).delete()
        self._memory.numbered[row.label] = row
        named = zip(names, packed, numbers, strict=True)
        Reserved.objects.using(self._using).bulk_create(
            [
                Reserved(holding=holding, name=name, key=key, number=number, drawn=drawn)
                for name, key, number in named
            ],
            batch_size=_AT_ONCE,
        )

    def open(self, *, deleted: bool) -> Iterator[tuple[Row, dict[int, Key]]]:
        """The rows that have a number and are not there, some at a time: their keys by numbers.

        Those that somebody drew a number for; with `deleted`, also those that were deleted.
        """
        for row in self._memory.numbered.values():
            for some in self._some(row, deleted=deleted):
                rows: QuerySet[Any] = QuerySet(model=row.model, using=self._using)
                there = rows.filter(pk__in=some).values_list("pk", flat=True)
                if missing := some.keys() - set(there):
                    yield row, {number: some[number] for number in missing}

    def clear(self) -> None:
        """The transaction ends: the rows have come, or nothing points to them."""
        for row in self._memory.numbered.values():
            self._reserved(row).delete()

    def _some(self, row: Row, *, deleted: bool) -> Iterator[dict[int, Key]]:
        mine = self._reserved(row) if deleted else self._reserved(row).filter(drawn=True)
        mine = mine.order_by("name")
        after = mine
        while some := list(after.values_list("number", "name", "key")[:_AT_ONCE]):
            yield {number: stored_key(name, key) for number, name, key in some}
            after = mine.filter(name__gt=some[-1][1])

    def _reserved(self, row: Row) -> QuerySet[Reserved]:
        return Reserved.objects.using(self._using).filter(holding=self._holdings.id_of(row.label))


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))
