"""What an older version has parked: many records of a row become one entry."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.test import override_settings

from sockstream.receiver.models import Offset, Parked
from sockstream.receiver.parked import retry
from sockstream.wire.records import DELETE, INSERT, UPDATE
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import MODELS, last, parked, take
from tests.zoo.models import Category, Slot

APP = "sockstream_receiver"
PARK = {"MODELS": MODELS, "ON_ERROR": "park"}


def migrate(using: str, name: str = "") -> Any:
    """The apps at that migration, without one at the last."""
    executor = MigrationExecutor(connections[using])
    targets = [(APP, name)] if name else executor.loader.graph.leaf_nodes(APP)
    return executor.migrate(targets).apps


@pytest.fixture
def before(central: str) -> Iterator[Any]:
    """The table as it was, with entries for a slot (1), a category (3) and its child (4)."""
    with override_settings(SOCKSTREAM=PARK):
        take(central, 7)
        bad = Slot(position=7, name="last")
        orphan = Category(name="orphan", parent=Category(id=uuid.UUID(int=1), name="unsent"))
        feed = Feed().insert(bad).end().update(bad)
        feed.insert(orphan, Category(name="child", parent=orphan))
        feed.applier(central).apply([feed.batch()])
        assert last(central) == {1: (2, INSERT), 3: (3, INSERT), 4: (4, INSERT)}
        try:
            yield migrate(central, "0013_exact_names").get_model(APP, "Parked")
        finally:
            migrate(central)


def test_the_last_values_and_the_first_reason_stay(central: str, before: Any) -> None:
    rows = before.objects.using(central)
    for seq, behind, op in ((2, 1, UPDATE), (5, 3, UPDATE)):
        row = rows.get(seq=behind)
        rows.filter(seq=behind).update(record=b"older")
        row.pk, row.seq, row.op, row.cause, row.behind = None, seq, op, "row", behind
        row.code, row.error, row.absent = "behind-parked", "", False
        row.save(using=central, force_insert=True)
    rows.filter(seq=4).update(behind=5)
    Offset.objects.using(central).update(parked=5, records_applied=0)
    migrate(central)
    assert last(central) == {1: (2, INSERT), 3: (5, INSERT), 4: (4, INSERT)}
    assert parked(central) == [(1, "fault", 0), (3, "fault", 0), (4, "reference", 3)]
    assert "behind-parked" not in {row.code for row in Parked.objects.using(central).exclude(seq=4)}
    offset = Offset.objects.using(central).get()
    assert (offset.parked, offset.records_applied) == (3, 2)
    Slot.objects.using(central).all().delete()
    Category.objects.using(central).create(id=uuid.UUID(int=1), name="given")
    assert retry(central).applied == 3
    assert Slot.objects.using(central).get().name == "last"


def test_a_delete_that_was_parked_behind_an_insert_is_kept(central: str, before: Any) -> None:
    """Whether central has the row is found out when it is tried."""
    rows = before.objects.using(central)
    row = rows.get(seq=1)
    row.pk, row.seq, row.op, row.cause, row.behind, row.absent = None, 2, DELETE, "row", 1, False
    row.save(using=central, force_insert=True)
    Offset.objects.using(central).update(parked=4)
    migrate(central)
    assert last(central)[1] == (2, DELETE)
    entry = Parked.objects.using(central).get(seq=1)
    assert retry(central, [entry.pk]).applied == 1
    assert Slot.objects.using(central).count() == 1
