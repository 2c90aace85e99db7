"""Local numbers of rows that are not there: of those to come, and of those that were deleted.

Central names some rows by an integer of its own. One rule gives these numbers: a row that is
deleted keeps its number until the transaction ends, and whoever points to a row that is not there
draws one for it. The row gets that number when it comes, so that whatever points to it goes on
doing so.

In a transaction of MySQL no number can be drawn: only an insert does so. There, a negative one
stands in, which no other row has. When the row comes it gets the next number as any row does, and
what points to it by the one that stood in is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from secrets import randbelow
from typing import Any

from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Reserved
from sockstream.rows import Row

from .holdings import Holdings, Key, stored_key, stored_names
from .memory import Memory
from .relations import pointing_by_number

_AT_ONCE = 500


class Numbers:
    """The numbers that a stream's open transaction has reserved, noted in it until it ends."""

    def __init__(self, holdings: Holdings, using: str, memory: Memory) -> None:
        self._holdings = holdings
        self._using = using
        self._memory = memory
        self._draws = dialect(using).puts_off_constraints

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
        if row.number is None:
            return None
        wanted = list(dict.fromkeys(keys))
        if self._draws:
            with connections[self._using].cursor() as cursor:
                central = dialect(self._using)
                numbers = central.next_numbers(cursor, row.table, row.number.column, len(wanted))
        else:
            numbers = self._stand_ins(row, row.number.field, len(wanted))
        self._reserve(row, wanted, numbers, drawn=True)
        drawn = dict(zip(wanted, numbers, strict=True))
        return [drawn[key] for key in keys]

    def _stand_ins(self, row: Row, f: Any, count: int) -> list[int]:
        """Negative numbers that nobody has. Transactions begin at random, lest they wait for each
        other's rows where such a number is unique."""
        lowest, _ = connections[self._using].ops.integer_field_range(f.get_internal_type())
        rows: QuerySet[Any] = QuerySet(model=row.model, using=self._using)
        while True:
            first = self._memory.stand_ins.get(row.label, 0)
            if first + count > 0 or not first:
                first = lowest + randbelow(-lowest // 2)
            numbers = list(range(first, first + count))
            self._memory.stand_ins[row.label] = first + count
            if not rows.filter(pk__range=(numbers[0], numbers[-1])).exists():
                return numbers

    def stand_in(self, row: Row) -> bool:
        """Whether numbers may stand in for those of rows like this one."""
        return not self._draws and self.reserves(row)

    def replace(self, row: Row, numbers: Mapping[Any, int], pks: Sequence[int]) -> None:
        """The rows for which these numbers stood in, by their keys, are there with these `pks`."""
        names, _ = stored_names(row, list(numbers))
        for some in _slices(names):
            self._reserved(row).filter(name__in=some).delete()
        pairs = list(zip(numbers.values(), pks, strict=True))
        with connections[self._using].cursor() as cursor:
            for f in pointing_by_number(row.model, self._using):
                for at in range(0, len(pairs), _AT_ONCE):
                    _change(cursor, f, pairs[at : at + _AT_ONCE])

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


def is_real(number: int) -> bool:
    """Whether a number is one that a row can have, and none that stands in for it."""
    return number >= 0


def _change(cursor: CursorWrapper, f: Any, pairs: Sequence[tuple[int, int]]) -> None:
    """Let rows that point by the first number of a pair point by the second one."""
    quote = cursor.db.ops.quote_name
    table, column = quote(f.model._meta.db_table), quote(f.column)
    cases = " ".join(["WHEN %s THEN %s"] * len(pairs))
    marks = ", ".join(["%s"] * len(pairs))
    cursor.execute(
        f"UPDATE {table} SET {column} = CASE {column} {cases} END WHERE {column} IN ({marks})",
        [*(number for pair in pairs for number in pair), *(old for old, _ in pairs)],
    )


def _slices(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + _AT_ONCE] for start in range(0, len(names), _AT_ONCE))
