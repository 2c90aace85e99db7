"""A site that writes thousands of records a transaction, from a fixed seed.

A transaction inserts orders, each with lines in slots, changes thousands of lines by `update()` and
hundreds by `bulk_update()`, lets the first two lines of orders change places, gives articles new
keys, and deletes lines. It is RECORDS records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from benchmarks.long.models import Article, Line, Order

ORDERS, SLOTS = 200, 5
UPDATED, CHANGED, SWAPPED, RENAMED, DELETED = 2_000, 300, 50, 50, 100
ARTICLES = 500
# A swap goes by way of a free slot: three statements for two lines. A new key is a delete and an
# insert.
RECORDS = ORDERS + ORDERS * SLOTS + UPDATED + CHANGED + 3 * SWAPPED + 2 * RENAMED + DELETED
_FREE = -1
_REMEMBERED = 20_000
_DAY = date(2026, 1, 1)
_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """Writes transactions into database `using`."""

    def __init__(self, using: str, seed: int = 1) -> None:
        self.using = using
        self._random = random.Random(seed)
        self._orders: list[UUID] = []
        self._lines: list[UUID] = []
        self._swapped = 0
        self._count = 0

    def fill(self, transactions: int) -> None:
        """What is there before."""
        articles = [Article(code=f"a{n}", name=f"Article {n}") for n in range(ARTICLES)]
        Article._default_manager.using(self.using).bulk_create(articles)
        for _ in range(transactions):
            self._insert()

    def write(self) -> None:
        """One transaction of RECORDS records."""
        with transaction.atomic(using=self.using):
            self._insert()
            chosen = self._random.sample(self._lines, UPDATED + CHANGED + DELETED)
            self._update(chosen[:UPDATED])
            self._change(chosen[UPDATED : UPDATED + CHANGED])
            self._swap()
            self._rename()
            self._delete(chosen[UPDATED + CHANGED :])

    def _insert(self) -> None:
        orders = [self._order() for _ in range(ORDERS)]
        Order._default_manager.using(self.using).bulk_create(orders)
        lines = [self._line(order, slot) for order in orders for slot in range(1, SLOTS + 1)]
        Line._default_manager.using(self.using).bulk_create(lines)
        self._orders = (self._orders + [order.id for order in orders])[-_REMEMBERED:]
        # The first two of each order stay: they change places.
        self._lines += [line.id for line in lines if line.slot > 2]
        del self._lines[:-_REMEMBERED]

    def _update(self, keys: Sequence[UUID]) -> None:
        rows = Line._default_manager.using(self.using).filter(id__in=keys)
        rows.update(count=F("count") + 1, amount=F("amount") + Decimal("0.01"))

    def _change(self, keys: Sequence[UUID]) -> None:
        rows = list(Line._default_manager.using(self.using).filter(id__in=keys))
        for row in rows:
            row.text, row.data, row.open = f"{row.text}.", {"changed": row.count}, not row.open
        Line._default_manager.using(self.using).bulk_update(rows, ["text", "data", "open"])

    def _swap(self) -> None:
        orders = self._random.sample(self._orders, SWAPPED)
        lines = Line._default_manager.using(self.using).filter(order__in=orders)
        for slot, wanted in ((1, _FREE), (2, 1), (_FREE, 2)):
            lines.filter(slot=slot).update(slot=wanted)

    def _rename(self) -> None:
        codes = (
            Article._default_manager.using(self.using)
            .order_by("code")
            .values_list("code", flat=True)
        )
        chosen = self._random.sample(list(codes), RENAMED)
        rows = Article._default_manager.using(self.using)
        self._count += 1
        rows.filter(code__in=chosen).update(code=Concat(F("name"), Value(f"/{self._count}")))

    def _delete(self, keys: Sequence[UUID]) -> None:
        Line._default_manager.using(self.using).filter(id__in=keys)._raw_delete(self.using)
        gone = set(keys)
        self._lines = [key for key in self._lines if key not in gone]

    def _order(self) -> Order:
        self._count += 1
        return Order(id=self._key(), number=self._count)

    def _line(self, order: Order, slot: int) -> Line:
        self._count += 1
        n = self._count
        return Line(
            id=self._key(),
            order=order,
            slot=slot,
            name=f"Line {n}",
            text=f"What there is to say about line {n}, which is not much. " * 3,
            amount=Decimal(n) / 100,
            weight=n / 7,
            total=n << 33,
            day=_DAY + timedelta(days=n % 365),
            at=_AT + timedelta(seconds=n),
            clock=time(n % 24, n % 60),
            took=timedelta(milliseconds=n),
            data={"number": n, "tags": ["a", "b"]},
            blob=n.to_bytes(16),
        )

    def _key(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)
