"""With "park": rows that refer to one that central lacks wait behind its parked record."""

from __future__ import annotations

import pytest

from sockstream.receiver.models import Offset, Parked
from sockstream.receiver.parked import drop, retry
from sockstream.wire.records import INSERT, UPDATE, Layout
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import last, misfit, offset, parked, take
from tests.zoo import models as zoo
from tests.zoo.models import Bounded, Branch, Category, Leaf, Slot, Tree

pytestmark = pytest.mark.usefixtures("parks")


def test_rows_that_refer_to_a_missing_one_wait_and_theirs_too(central: str) -> None:
    feed = Feed()
    bad, good = Tree(name="a\x00b"), Tree(name="good")
    with_bad, with_good = Branch(tree=bad), Branch(tree=good)
    refused(central, feed, bad)
    applier = feed.applier(central)
    feed.insert(good, with_bad, with_good, Leaf(branch=with_bad), Leaf(branch=with_good))
    applier.apply([feed.batch()])
    assert parked(central) == [(1, "fault", 0), (3, "reference", 1), (5, "reference", 3)]
    with_bad.tree = good
    moved = Leaf(branch=with_good)
    applier.apply([feed.insert(moved).update(with_bad).batch()])
    assert parked(central)[1:] == [(3, "reference", 1), (5, "reference", 3)]
    assert last(central)[3] == (8, INSERT)
    moved.branch = with_bad
    applier.apply([feed.update(moved).batch()])
    assert parked(central)[3:] == [(9, "reference", 3)]
    assert Branch.objects.using(central).get().id == with_good.id
    assert Leaf.objects.using(central).count() == 2


def refused(central: str, feed: Feed, tree: Tree) -> None:
    """Park the insert of a tree, on any database."""
    layout = Layout("zoo.tree", ("id",), ("name",))
    values = [tree.id.bytes, misfit(central)]
    feed.raw(INSERT, layout, values)
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(1, "fault", 0)]


def test_a_row_that_is_there_can_be_referred_to_though_its_update_is_parked(central: str) -> None:
    """Only rows that central lacks hold others up."""
    fine = Bounded(low=0, high=1)
    feed = Feed()
    applier = feed.applier(central)
    tree = Tree(name="fine")
    applier.apply([feed.insert(fine, tree).batch()])
    layout = Layout("zoo.tree", ("id",), ("name",))
    value = misfit(central)
    applier.apply([feed.raw(2, layout, [tree.id.bytes, value]).batch()])
    applier.apply([feed.insert(Branch(tree=tree)).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert Branch.objects.using(central).count() == 1


def test_references_by_local_keys_by_m2m_and_by_another_field(central: str) -> None:
    taken = zoo.Country.objects.using(central).create(code="at")
    bad = zoo.Country(code="at")
    author = zoo.Author(pkid=1, name="a\x00b")
    essay = zoo.Essay(pkid=1, title="fine", author=zoo.Author(pkid=2))
    feed = Feed()
    applier = feed.applier(central)
    layout = Layout("zoo.author", ("id",), ("name", "mentor"))
    nul = misfit(central)
    feed.insert(bad).raw(INSERT, layout, [author.id.bytes, nul, None])
    applier.apply([feed.insert(essay.author, essay).batch()])
    assert parked(central) == [(1, "fault", 0), (2, "fault", 0)]
    readers = Layout("zoo.essay_readers", ("essay", "author"), ())
    feed.raw(INSERT, readers, [essay.id.bytes, author.id.bytes])
    feed.raw(INSERT, readers, [essay.id.bytes, essay.author.id.bytes])
    feed.insert(zoo.Essay(pkid=2, title="hers", author=author))
    feed.insert(zoo.Comment(essay=essay, author=author), zoo.Portrait(author=author, caption=""))
    applier.apply([feed.batch()])
    # By its code, central has a country: a stranger's, which the database would take.
    feed.insert(zoo.City(country=zoo.Country(code="ch")), zoo.City(country=bad))
    applier.apply([feed.batch()])
    assert parked(central)[2:] == [
        (5, "reference", 2),
        (7, "reference", 2),
        (8, "reference", 2),
        (9, "reference", 2),
        (10, "fault", 0),
        (11, "reference", 1),
    ]
    assert Parked.objects.using(central).get(seq=10).code == "missing-reference"
    assert essay.readers.through._default_manager.using(central).count() == 1
    taken.delete()


def test_a_parent_that_the_site_does_not_send(central: str) -> None:
    """A foreign key that is only found broken at the commit."""
    feed = Feed()
    orphans = [Category(name=str(n), parent=Category(name="unsent")) for n in range(3)]
    child = Category(name="child", parent=orphans[0])
    feed.insert(Category(name="fine"), *orphans, child, Category(name="fine too")).end()
    feed.insert(Category(name="after"))
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [
        (2, "fault", 0),
        (3, "fault", 0),
        (4, "fault", 0),
        (5, "reference", 2),
    ]
    codes = Parked.objects.using(central).values_list("code", flat=True)
    assert set(codes) == {"missing-reference", "behind-parked"}
    assert Category.objects.using(central).count() == 3


def shown(central: str) -> str:
    """The words of what is parked. MariaDB, which looks at once, names the table."""
    return Parked.objects.using(central).get().error.replace("`zoo_", "`zoo.")


def test_a_row_that_others_at_central_refer_to_cannot_be_deleted(central: str) -> None:
    tree, other = Tree(name="old"), Tree(name="other")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(tree, other).batch()])
    stray = Branch.objects.using(central).create(tree_id=tree.id)
    applier.apply([feed.delete(tree).insert(Tree(name="new")).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert "zoo.branch" in shown(central)
    assert Tree.objects.using(central).count() == 3
    stray.delete()


def test_a_delete_of_a_local_key_that_others_refer_to(central: str) -> None:
    author, essay = zoo.Author(pkid=1, name="a"), zoo.Essay(pkid=1, title="stray")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(author).batch()])
    there = zoo.Author.objects.using(central).get()
    essay.author = there
    essay.save(using=central)
    applier.apply([feed.delete(author).insert(Tree()).batch()])
    assert parked(central) == [(2, "fault", 0)]
    assert "zoo.essay" in shown(central)
    assert Tree.objects.using(central).exists()


def test_an_old_state_that_is_kept_by_a_parked_move(central: str) -> None:
    """The site has moved the branch and deleted the tree; here, the branch still holds it."""
    old, bad = Tree(name="old"), Tree(name="bad")
    branch = Branch(tree=old)
    feed = Feed()
    refused(central, feed, bad)
    applier = feed.applier(central)
    applier.apply([feed.insert(old, branch).batch()])
    branch.tree = bad
    applier.apply([feed.update(branch).batch()])
    applier.apply([feed.delete(old).batch()])
    assert parked(central) == [(1, "fault", 0), (4, "reference", 1), (5, "fault", 0)]
    assert Tree.objects.using(central).get().name == "old"


@pytest.mark.skipif(not hasattr(zoo, "Root"), reason="Django 6.1 brings DB_CASCADE")
def test_the_database_does_not_cascade_into_a_row_whose_move_is_parked(central: str) -> None:
    old, bad = Tree(name="old"), Tree(name="bad")
    root = zoo.Root(tree=old)
    feed = Feed()
    refused(central, feed, bad)
    applier = feed.applier(central)
    applier.apply([feed.insert(old, root).batch()])
    root.tree = bad
    applier.apply([feed.update(root).delete(old).batch()])
    assert parked(central) == [(1, "fault", 0), (4, "reference", 1), (5, "reference", 4)]
    assert zoo.Root._default_manager.using(central).exists()


def test_what_needs_a_later_record_of_its_group_is_not_parked(central: str) -> None:
    """Between the two is a bad one: in parts, the first is written without the last."""
    take(central, 7)
    pupil, mentor = zoo.Author(pkid=1, name="pupil"), zoo.Author(pkid=2, name="mentor")
    pupil.mentor = mentor
    feed = Feed().insert(pupil, Slot(position=7), mentor)
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(2, "fault", 0)]
    assert zoo.Author.objects.using(central).get(name="pupil").mentor_id is not None


def test_what_refers_to_a_row_that_central_has_lost_waits_behind_its_records(central: str) -> None:
    """Central should have the row; somebody there has deleted it."""
    zoo.Topping.objects.using(central).create(name="taken")
    topping, pizza = zoo.Topping(name="ham"), zoo.Pizza(name="toast")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(topping, pizza).batch()])
    topping.name = "taken"
    applier.apply([feed.update(topping).batch()])
    zoo.Topping.objects.using(central).filter(id=topping.id).delete()
    on = Layout("zoo.pizza_toppings", ("pizza", "topping"), ())
    applier.apply([feed.raw(INSERT, on, [pizza.id.bytes, topping.id.bytes]).batch()])
    assert parked(central) == [(3, "fault", 0), (4, "reference", 3)]


def test_an_earlier_record_of_a_group_does_not_replace_a_later_one(central: str) -> None:
    """The group is taken apart for a bad record, when the later one is set aside already."""
    take(central, 7)
    feed, bad, good = Feed(), Tree(name="bad"), Tree(name="good")
    refused(central, feed, bad)
    branch = Branch(tree=good)
    feed.insert(good, Slot(position=7), branch)
    branch.tree = bad
    feed.applier(central).apply([feed.update(branch).batch()])
    assert parked(central) == [(1, "fault", 0), (3, "fault", 0), (5, "reference", 1)]
    assert last(central)[5] == (5, UPDATE)
    assert Branch.objects.using(central).get().tree_id == good.id
    Tree(id=bad.id, name="bad").save(using=central)
    drop(central, [Parked.objects.using(central).get(seq=3).pk])
    Parked.objects.using(central).filter(seq=1).delete()
    Offset.objects.using(central).update(parked=1)
    assert retry(central).applied == 1
    assert Branch.objects.using(central).get().tree_id == bad.id


def test_a_record_at_fault_before_one_that_waits(central: str) -> None:
    feed, bad = Feed(), Tree(name="bad")
    refused(central, feed, bad)
    branches = Layout("zoo.branch", ("id",), ("tree",))
    feed.raw(INSERT, branches, [b"b" * 16, b"no such"])
    feed.raw(2, branches, [b"b" * 16, bad.id.bytes]).insert(Tree())
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(1, "fault", 0), (2, "reference", 1)]
    assert last(central)[2] == (3, INSERT)
    assert Parked.objects.using(central).get(seq=2).absent
    assert Tree.objects.using(central).count() == 1


def test_what_waited_for_a_row_that_is_gone_waits_for_nothing(central: str) -> None:
    feed, bad, good = Feed(), Tree(name="bad"), Tree(name="good")
    refused(central, feed, bad)
    branch = Branch(tree=bad)
    applier = feed.applier(central)
    applier.apply([feed.insert(good, branch).batch()])
    branch.tree = good
    applier.apply([feed.update(branch).end().delete(bad).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert retry(central).applied == 1
    assert Branch.objects.using(central).get().tree_id == good.id
    assert (parked(central), offset(central).parked) == ([], 0)


def test_a_parked_row_that_refers_to_another_one_in_the_end_waits_for_it(central: str) -> None:
    """A retry of the other one takes it along, whatever its first reason was."""
    take(central, 7)
    feed, one, two = Feed(), Tree(name="one"), Tree(name="two")
    refused(central, feed, one)
    layout = Layout("zoo.tree", ("id",), ("name",))
    branch = Branch(tree=one)
    feed.insert(branch).end().raw(INSERT, layout, [two.id.bytes, misfit(central)]).end()
    branch.tree = two
    feed.applier(central).apply([feed.update(branch).batch()])
    assert parked(central) == [(1, "fault", 0), (2, "reference", 3), (3, "fault", 0)]
    feed.raw(2, layout, [two.id.bytes, "mended"])
    feed.applier(central).apply([feed.batch()])
    assert retry(central, [Parked.objects.using(central).get(seq=3).pk]).applied == 2
    assert Branch.objects.using(central).get().tree_id == two.id
