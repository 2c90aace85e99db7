"""Local numbers of rows that are not there: of those to come, and of those that made way.

Central names some rows by an integer of its own. Databases that look at foreign keys when the
transaction ends let a row point to one that comes later in its group, so the number of that one is
drawn at once, and it gets it when it comes. A row that makes way for another one, to come again,
keeps its number: what points to it, and is not sent again, goes on doing so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet

from sockstream.receiver.models import Promised
from sockstream.rows import Column, Row

from .holdings import Holdings, Key, stored_key, stored_names

_AT_ONCE = 500


class Numbers:
    """The numbers that a stream's open transaction has promised, noted in it until it ends."""

    def __init__(self, holdings: Holdings, using: str) -> None:
        self._holdings = holdings
        self._using = using
        self._rows: dict[str, Row] = {}

    def promises(self, row: Row) -> bool:
        """Whether rows like this one may have been promised a number."""
        return row.label in self._rows

    def of(self, row: Row, keys: Sequence[Any]) -> list[int | None]:
        """The promised number of each row with one of these keys (see reduce.Net), or None."""
        names, _ = stored_names(row, keys)
        known: dict[str, int] = {}
        for start in range(0, len(names), _AT_ONCE):
            found = self._promised(row).filter(name__in=names[start : start + _AT_ONCE])
            known |= {name.hex: number for name, number in found.values_list("name", "number")}
        return [known.get(name) for name in names]

    def draw(self, row: Row, keys: Sequence[Any]) -> list[int] | None:
        """Promise each row with one of these keys a new number; None if that can't be done here."""
        connection = connections[self._using]
        next_numbers = _NEXT.get(connection.vendor)
        if row.number is None or next_numbers is None:
            return None
        wanted = list(dict.fromkeys(keys))
        with connection.cursor() as cursor:
            numbers = next_numbers(cursor, row.table, row.number, len(wanted))
        self.keep(row, wanted, numbers)
        drawn = dict(zip(wanted, numbers, strict=True))
        return [drawn[key] for key in keys]

    def keep(self, row: Row, keys: Sequence[Any], numbers: Sequence[int]) -> None:
        """The rows with these keys will have these numbers when they come."""
        self._rows[row.label] = row
        holding = self._holdings.id_of(row.label)
        named = zip(*stored_names(row, keys), numbers, strict=True)
        Promised.objects.using(self._using).bulk_create(
            [Promised(holding=holding, name=n, key=key, number=number) for n, key, number in named],
            batch_size=_AT_ONCE,
        )

    def open(self) -> Iterator[tuple[Row, dict[int, Key]]]:
        """The promises whose rows are not there, some at a time: their keys by their numbers."""
        for row in self._rows.values():
            for some in self._slices(row):
                rows: QuerySet[Any] = QuerySet(model=row.model, using=self._using)
                there = rows.filter(pk__in=some).values_list("pk", flat=True)
                if missing := some.keys() - set(there):
                    yield row, {number: some[number] for number in missing}

    def clear(self) -> None:
        """The transaction ends: the rows have come, or nothing points to them."""
        for label, row in list(self._rows.items()):
            removed, _ = self._promised(row).delete()
            # What was removed is there again if the transaction can't end here after all.
            if not removed:
                del self._rows[label]

    def _slices(self, row: Row) -> Iterator[dict[int, Key]]:
        promised = self._promised(row).order_by("name").values_list("number", "name", "key")
        after = promised
        while some := list(after[:_AT_ONCE]):
            yield {number: stored_key(name, key) for number, name, key in some}
            after = promised.filter(name__gt=some[-1][1])

    def _promised(self, row: Row) -> QuerySet[Promised]:
        return Promised.objects.using(self._using).filter(holding=self._holdings.id_of(row.label))


def _next_postgresql(cursor: CursorWrapper, table: str, pk: Column, count: int) -> list[int]:
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
        [cursor.db.ops.quote_name(table), pk.column, count],
    )
    return [number for (number,) in cursor.fetchall()]


def _next_sqlite(cursor: CursorWrapper, table: str, pk: Column, count: int) -> list[int]:
    cursor.execute("UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s", [count, table])
    if not cursor.rowcount:
        cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, count])
    cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
    (last,) = cursor.fetchone()
    return list(range(last - count + 1, last + 1))


# MySQL looks at foreign keys after each statement.
_NEXT: dict[str, Callable[[CursorWrapper, str, Column, int], list[int]]] = {
    "postgresql": _next_postgresql,
    "sqlite": _next_sqlite,
}
