"""With "park": snapshots beside parked records."""

from __future__ import annotations

import uuid

import pytest

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Parked
from sockstream.wire.records import BEGIN, END, LOAD, SAVE, UPDATE, Layout
from tests.conftest import on_centrals
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import last, misfit, offset, parked
from tests.zoo import models as zoo
from tests.zoo.models import Branch, Category, Slot, Tree

# MariaDB's way looks first whose row is there, and stops for that before the value is refused.
finds_late = on_centrals("central_sqlite", "central_pg")
pytestmark = pytest.mark.usefixtures("parks")


def snapshot(feed: Feed, *trees: Tree) -> Feed:
    """All trees that the site has, as it would send them."""
    layout = Layout("zoo.tree", ("id",), ("name",))
    for mark in (BEGIN, LOAD):
        feed.raw(mark, layout, [])
    for tree in trees:
        feed.raw(SAVE, layout, [tree.id.bytes, tree.name])
    return feed.raw(END, layout, [])


def test_a_snapshot_does_not_remove_a_row_whose_records_are_parked(central: str) -> None:
    kept, gone = Tree(name="kept"), Tree(name="gone")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(kept, gone).batch()])
    nul = misfit(central)
    layout = Layout("zoo.tree", ("id",), ("name",))
    applier.apply([feed.raw(UPDATE, layout, [kept.id.bytes, nul]).batch()])
    applier.apply([snapshot(feed, kept).insert(Branch(tree=kept)).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert last(central) == {3: (6, SAVE)}
    applier.apply([snapshot(feed, kept).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert last(central) == {3: (11, SAVE)}
    assert Tree.objects.using(central).get().id == kept.id
    assert Branch.objects.using(central).exists()


@finds_late
def test_a_row_that_only_a_snapshot_knows_holds_others_up_if_it_is_missing(central: str) -> None:
    there = Slot.objects.using(central).create(position=7)
    passports = Layout("zoo.passport", ("id",), ("holder", "number"))
    person = zoo.Person(name="fine")
    taken = zoo.Passport.objects.using(central).create(number="1")
    feed = Feed().raw(SAVE, passports, [b"p" * 16, None, "1"])
    slots = Layout("zoo.slot", ("id",), ("position", "name"))
    feed.insert(person).raw(SAVE, slots, [b"s" * 16, 7, "missing"])
    feed.raw(SAVE, slots, [there.id.bytes, 2**64 - 1, "there"])
    feed.applier(central).apply([feed.batch()])
    absent = Parked.objects.using(central).values_list("seq", "absent")
    assert dict(absent) == {1: True, 3: True, 4: False}
    taken.delete()


def test_a_row_that_only_a_snapshot_knows_may_be_called_by_another_one(
    databases: Databases,
) -> None:
    using = "central_pg"
    databases.clean(using)
    painted, author = zoo.Author(pkid=1, name="painted"), zoo.Author(pkid=2, name="not")
    feed, long = Feed(), 51 * "x"
    applier = feed.applier(using)
    applier.apply([feed.insert(painted, zoo.Portrait(author=painted), author).batch()])
    portraits = Layout("zoo.portrait", ("author",), ("caption",))
    for each in (painted, author):
        feed.raw(SAVE, portraits, [each.id.bytes, long])
    applier.apply([feed.batch()])
    absent = Parked.objects.using(using).values_list("seq", "absent")
    assert dict(absent) == {4: False, 5: True}


def test_what_a_snapshot_brings_later_is_not_parked_before(central: str) -> None:
    """The group's commit fails, so that each record is looked at; two of them came too early."""
    layout = Layout("zoo.category", ("id",), ("name", "parent"))
    row, gone = Category(name="as it is now"), Category(name="gone")
    child = Category(name="child", parent=gone)
    unsent = uuid.uuid4().bytes
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(gone, child).batch()])
    feed.raw(BEGIN, layout, []).raw(UPDATE, layout, [row.id.bytes, "as it was", unsent])
    feed.delete(gone).raw(LOAD, layout, [])
    for each in (row, child):
        feed.raw(SAVE, layout, [each.id.bytes, each.name, None])
    applier.apply([feed.raw(END, layout, []).insert(Branch(tree=Tree())).batch()])
    assert parked(central) == [(10, "fault", 0)]
    found = Category.objects.using(central).order_by("name").values_list("name", "parent")
    assert list(found) == [("as it is now", None), ("child", None)]


def test_a_mark_of_a_snapshot_is_never_parked(central: str) -> None:
    """Its end would remove a row that somebody at central refers to."""
    tree = Tree(name="gone")
    feed = Feed()
    feed.applier(central).apply([feed.insert(tree).batch()])
    Branch.objects.using(central).create(tree_id=tree.id)
    with pytest.raises(Stopped):
        feed.applier(central).apply([snapshot(feed).batch()])
    assert parked(central) == []
    assert offset(central).seq == 1
