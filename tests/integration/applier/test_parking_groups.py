"""With "park": a bad record in a group of several batches."""

from __future__ import annotations

import pytest

from sockstream.receiver.models import Parked
from sockstream.wire.records import INSERT, Batch
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import last, offset, parked, take
from tests.zoo.models import Category, Slot, Tree

pytestmark = pytest.mark.usefixtures("parks", "in_pieces")


def test_an_open_group_goes_on_without_its_bad_record(central: str) -> None:
    take(central, 7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Slot(position=1), Slot(position=7)).batch(open=True)])
    assert not Parked.objects.using(central).exists()
    bad = Slot(position=7)
    applier.apply([feed.insert(Slot(position=2), bad).batch(open=True)])
    bad.name = "later"
    applied = applier.apply([feed.update(bad).insert(Slot(position=4)).batch()])
    assert (applied.offset, applied.staged) == (6, 0)
    assert parked(central) == [(2, "fault", 0), (4, "fault", 0)]
    assert last(central) == {2: (2, INSERT), 4: (5, INSERT)}
    at = offset(central)
    assert (at.parked, at.records_applied) == (2, 4)


def test_what_a_later_record_of_the_group_makes_right_is_not_parked(central: str) -> None:
    """Nobody sees the states between the beginning and the end of a group."""
    take(central, 7)
    moved, gone, other = Slot(position=7), Slot(position=7), Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(moved, gone, other).batch(open=True)])
    moved.position = 3
    applier.apply([feed.update(moved).delete(gone).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert Slot.objects.using(central).get(position=3).id == moved.id
    at = offset(central)
    assert (at.parked, at.records_applied) == (1, 4)
    assert (at.inserts_met, at.updates_missed, at.deletes_missed) == (0, 0, 0)


def test_nothing_is_parked_before_the_group_ends(central: str) -> None:
    """What is in the way may be gone by then."""
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad).batch(open=True)])
    assert parked(central) == []
    Slot.objects.using(central).all().delete()
    applier.apply([feed.update(bad).batch()])
    assert parked(central) == []
    assert Slot.objects.using(central).get().id == bad.id


def test_a_commit_that_fails_at_the_end_of_an_open_group(central: str) -> None:
    feed = Feed()
    orphan = Category(name="orphan", parent=Category(name="unsent"))
    parts = [
        feed.insert(Category(name="fine"), orphan).batch(open=True),
        feed.insert(Category(name="child", parent=orphan), Category(name="last")).batch(),
    ]
    _one_by_one(feed, parts, central)
    assert parked(central) == [(2, "fault", 0), (3, "reference", 2)]
    assert (offset(central).seq, offset(central).error) == (4, "")
    assert Category.objects.using(central).count() == 2


def test_a_row_that_comes_in_a_later_batch_is_waited_for(central: str) -> None:
    """Where each batch is looked at, its parent is still missing; at the group's end it is not."""
    feed = Feed()
    parent = Category(name="parent")
    child = Category(name="child", parent=parent)
    orphan = Category(name="orphan", parent=Category(name="unsent"))
    parts = [
        feed.insert(Category(name="leaf", parent=child), child, orphan).batch(open=True),
        feed.insert(Tree()).batch(open=True),
        feed.insert(parent).batch(),
    ]
    _one_by_one(feed, parts, central)
    assert parked(central) == [(3, "fault", 0)]
    assert Category.objects.using(central).count() == 3
    at = offset(central)
    assert (at.seq, at.parked, at.records_applied, at.updates_missed) == (5, 1, 4, 0)
    later = Category(name="later", parent=child)
    feed.applier(central).apply([feed.insert(later).update(orphan).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert last(central) == {3: (7, INSERT)}


def _one_by_one(feed: Feed, parts: list[Batch], central: str) -> None:
    applier = feed.applier(central)
    for part in parts:
        applier.apply([part])
