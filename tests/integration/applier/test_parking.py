"""With "park": a record at fault is set aside with all that depends on it; the stream goes on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver.applying.applier import Applied, Retry, Stopped
from sockstream.receiver.models import Cause, Offset, Parked, State
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import BEGIN, END, INSERT, LOAD, SAVE, UPDATE, Batch, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo import models as zoo
from tests.zoo.models import Bounded, Branch, Category, Leaf, Parameter, Slot, Tree

MODELS = ["polls", "zoo", "zoo_pg", "zoo_raw"]
NOBODY = uuid.UUID(int=0)


@pytest.fixture(autouse=True)
def parks() -> Iterator[None]:
    with override_settings(SOCKSTREAM={"MODELS": MODELS, "ON_ERROR": "park"}):
        yield


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def parked(using: str) -> list[tuple[int, str, int]]:
    """What is parked: number, cause, and the number that it waits behind."""
    rows = Parked.objects.using(using).order_by("seq")
    return list(rows.values_list("seq", "cause", "behind"))


def take(using: str, position: int) -> Slot:
    """Somebody at central takes a unique value that a site will want."""
    return Slot.objects.using(using).create(position=position)


def test_one_bad_record_is_set_aside_and_the_rest_of_its_group_is_applied(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7, name="bad")
    feed = Feed().insert(Slot(position=1)).end()
    feed.insert(Slot(position=2), bad, Slot(position=3)).end().insert(Slot(position=4))
    batch = feed.batch()
    applied = feed.applier(central).apply([batch])
    assert applied == Applied(5, batch.digest_after, 5, False)
    assert Slot.objects.using(central).filter(position__lt=5).count() == 4
    row = Parked.objects.using(central).get()
    assert (row.source.name, row.stream, row.seq, row.op) == ("site-a", "default", 3, INSERT)
    assert (row.model, row.key) == ("zoo.slot", str(bad.id))
    assert (row.cause, row.behind, row.code) == (Cause.FAULT, 0, "record-refused")
    assert "position" in row.error
    assert row.epoch == bytes(offset(central).epoch).hex()
    at = offset(central)
    assert (at.seq, at.records_applied, at.parked, at.state) == (5, 4, 1, State.IDLE)
    assert at.error_code == ""


def test_later_records_of_its_row_wait_behind_it(central: str) -> None:
    take(central, 7)
    bad, other = Slot(position=7), Slot(position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad, other).batch()])
    bad.position = 8
    applier.apply([feed.update(bad, other).batch()])
    applier.apply([feed.delete(bad, other).batch()])
    applier.apply([feed.insert(bad).batch()])
    found = [(1, "fault", 0), (3, "row", 1), (5, "row", 3), (7, "row", 5)]
    assert parked(central) == found
    assert Slot.objects.using(central).count() == 1
    assert (offset(central).seq, offset(central).parked) == (7, 4)


def test_another_session_knows_what_is_parked(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(bad).batch()])
    bad.position = 8
    feed.applier(central).apply([feed.update(bad).batch()])
    assert parked(central) == [(1, "fault", 0), (2, "row", 1)]


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
    assert parked(central)[3:] == [(8, "row", 3)]
    moved.branch = with_bad
    applier.apply([feed.update(moved).batch()])
    assert parked(central)[4:] == [(9, "reference", 3)]
    assert Branch.objects.using(central).get().id == with_good.id
    assert Leaf.objects.using(central).count() == 2


def refused(central: str, feed: Feed, tree: Tree) -> None:
    """Park the insert of a tree, on any database."""
    layout = Layout("zoo.tree", ("id",), ("name",))
    values = [tree.id.bytes, 2**64 - 1 if connections[central].vendor == "sqlite" else "a\x00b"]
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
    value = 2**64 - 1 if connections[central].vendor == "sqlite" else "a\x00b"
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
    nul = 2**64 - 1 if connections[central].vendor == "sqlite" else "a\x00b"
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


def test_a_row_that_others_at_central_refer_to_cannot_be_deleted(central: str) -> None:
    tree, other = Tree(name="old"), Tree(name="other")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(tree, other).batch()])
    stray = Branch.objects.using(central).create(tree_id=tree.id)
    applier.apply([feed.delete(tree).insert(Tree(name="new")).batch()])
    assert parked(central) == [(3, "fault", 0)]
    assert "zoo.branch" in Parked.objects.using(central).get().error
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
    assert "zoo.essay" in Parked.objects.using(central).get().error
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
    assert zoo.Root.objects.using(central).exists()


def test_what_needs_a_later_record_of_its_group_is_not_parked(central: str) -> None:
    """Between the two is a bad one: in parts, the first is written without the last."""
    take(central, 7)
    pupil, mentor = zoo.Author(pkid=1, name="pupil"), zoo.Author(pkid=2, name="mentor")
    pupil.mentor = mentor
    feed = Feed().insert(pupil, Slot(position=7), mentor)
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(2, "fault", 0)]
    assert zoo.Author.objects.using(central).get(name="pupil").mentor_id is not None


def test_constraints_that_postgresql_looks_at_in_the_end(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    zoo.Ranked.objects.using(using).create(rank=5)
    one, two = zoo.Ranked(rank=1), zoo.Ranked(rank=2)
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(one, two).batch()])
    one.rank, two.rank = 2, 1
    applier.apply([feed.update(one, two).insert(zoo.Ranked(rank=5), Tree()).batch()])
    assert parked(using) == [(5, "fault", 0)]
    assert zoo.Ranked.objects.using(using).get(id=one.id).rank == 2


# Snapshots.


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
    nul = 2**64 - 1 if connections[central].vendor == "sqlite" else "a\x00b"
    layout = Layout("zoo.tree", ("id",), ("name",))
    applier.apply([feed.raw(UPDATE, layout, [kept.id.bytes, nul]).batch()])
    applier.apply([snapshot(feed, kept).insert(Branch(tree=kept)).batch()])
    assert parked(central) == [(3, "fault", 0), (6, "row", 3)]
    applier.apply([snapshot(feed, kept).batch()])
    assert parked(central) == [(3, "fault", 0), (6, "row", 3), (11, "row", 6)]
    assert Tree.objects.using(central).get().id == kept.id
    assert Branch.objects.using(central).exists()


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


def test_what_a_snapshot_brings_later_is_not_parked_before(central: str) -> None:
    """The group's commit fails, so that each record is looked at; one of them is left out."""
    layout = Layout("zoo.category", ("id",), ("name", "parent"))
    row = Category(name="as it is now")
    unsent = uuid.uuid4().bytes
    feed = Feed().raw(BEGIN, layout, []).raw(UPDATE, layout, [row.id.bytes, "as it was", unsent])
    feed.raw(LOAD, layout, []).raw(SAVE, layout, [row.id.bytes, row.name, None])
    feed.raw(END, layout, []).insert(Branch(tree=Tree()))
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(6, "fault", 0)]
    assert Category.objects.using(central).get().name == "as it is now"


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


# Groups in several batches.


def test_an_open_group_goes_on_without_its_bad_record(central: str) -> None:
    take(central, 7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Slot(position=1), Slot(position=7)).batch(open=True)])
    assert not Parked.objects.using(central).exclude(seq=2).exists()
    bad = Slot(position=7)
    applier.apply([feed.insert(Slot(position=2), bad).batch(open=True)])
    bad.position = 3
    applied = applier.apply([feed.update(bad).insert(Slot(position=4)).batch()])
    assert (applied.offset, applied.group_open) == (6, False)
    assert parked(central) == [(2, "fault", 0), (4, "fault", 0), (5, "row", 4)]
    at = offset(central)
    assert (at.parked, at.records_applied) == (3, 3)


def test_an_open_group_that_is_rolled_back_has_parked_nothing(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    first = feed.insert(bad).batch(open=True)
    second = feed.update(bad).batch()
    applier.apply([first])
    applier.close()
    assert parked(central) == []
    Slot.objects.using(central).all().delete()
    applier.apply([first])
    applier.apply([second])
    assert parked(central) == []
    assert Slot.objects.using(central).get().id == bad.id


def test_a_commit_that_fails_at_the_end_of_an_open_group(central: str) -> None:
    feed = Feed()
    orphan = Category(name="orphan", parent=Category(name="unsent"))
    parts = [
        feed.insert(Category(name="fine"), orphan).batch(open=True),
        feed.insert(Category(name="child", parent=orphan), Category(name="last")).batch(),
    ]
    with pytest.raises(Retry):
        _one_by_one(feed, parts, central)
    assert (offset(central).state, parked(central)) == (State.CHECKING, [])
    _one_by_one(feed, parts, central)
    assert parked(central) == [(2, "fault", 0), (3, "reference", 2)]
    assert (offset(central).seq, offset(central).state) == (4, State.CONNECTED)
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
    with pytest.raises(Retry):
        _one_by_one(feed, parts, central)
    _one_by_one(feed, parts, central)
    assert parked(central) == [(3, "fault", 0)]
    assert Category.objects.using(central).count() == 3
    at = offset(central)
    assert (at.seq, at.parked, at.records_applied, at.updates_missed) == (5, 1, 4, 0)
    later = Category(name="later", parent=child)
    feed.applier(central).apply([feed.insert(later).update(orphan).batch()])
    assert parked(central) == [(3, "fault", 0), (7, "row", 3)]


def _one_by_one(feed: Feed, parts: list[Batch], central: str) -> None:
    applier = feed.applier(central)
    for part in parts:
        applier.apply([part])


# What is never parked.


def test_models_and_fields_that_central_does_not_know_stop_the_stream(central: str) -> None:
    take(central, 7)
    for layout, code in (
        (Layout("auth.user", ("id",), ()), "model-not-allowed"),
        (Layout("zoo.tree", ("id",), ("height",)), "schema-mismatch"),
    ):
        Offset.objects.using(central).all().delete()
        Parked.objects.using(central).all().delete()
        feed = Feed().insert(Slot(position=7)).end()
        values = [b"k" * 16, 1][: 1 + len(layout.others)]
        feed.insert(Slot(position=7)).raw(INSERT, layout, values)
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply([feed.batch()])
        assert (stopped.value.error.code, stopped.value.seq) == (code, 3)
        assert parked(central) == [(1, "fault", 0)]


def test_a_table_that_is_not_there_stops_the_stream(central: str) -> None:
    feed = Feed().insert(Tree()).batch()
    with connections[central].cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_tree RENAME TO elsewhere")
    try:
        with pytest.raises(Stopped, match="zoo_tree"):
            Feed.applier(_with(feed), central).apply([feed])
    finally:
        with connections[central].cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO zoo_tree")
    assert parked(central) == []


def _with(batch: Batch) -> Feed:
    feed = Feed()
    feed.seq, feed.digest = batch.last_seq, batch.digest_after
    return feed


def test_two_sites_with_integer_keys_stop_the_second(central: str) -> None:
    one, two = Feed(), Feed()
    one.applier(central, "site-a").apply([one.insert(zoo.Counter(id=1, name="a")).batch()])
    with pytest.raises(Stopped) as stopped:
        two.applier(central, "site-b").apply([two.insert(zoo.Counter(id=1, name="b")).batch()])
    assert stopped.value.error.code == "key-collision"


def test_a_constraint_of_postgresqls_own_code_is_about_one_record(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    with connections[using].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.name = 'bad' THEN RAISE EXCEPTION 'not this one'; END IF; "
            "RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER no BEFORE INSERT ON zoo_tree FOR EACH ROW EXECUTE FUNCTION no()"
        )
    try:
        feed = Feed().insert(Tree(name="good"), Tree(name="bad"))
        feed.applier(using).apply([feed.batch()])
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("DROP TRIGGER no ON zoo_tree")
            cursor.execute("DROP FUNCTION no")
    assert "not this one" in Parked.objects.using(using).get().error


# Limits and settings.


def test_so_many_and_no_more(central: str) -> None:
    take(central, 7)
    more = {"MODELS": MODELS, "ON_ERROR": "park", "PARKED_MAX": 2}
    bad = Slot(position=7)
    feed = Feed().insert(bad).end().update(bad).end().insert(Tree()).end().update(bad).end()
    feed.insert(Tree())
    batch = feed.batch()
    with override_settings(SOCKSTREAM=more), pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([batch])
    assert (stopped.value.seq, stopped.value.error.code) == (4, "too-many-parked")
    assert "PARKED_MAX" in stopped.value.error.mend
    assert parked(central) == [(1, "fault", 0), (2, "row", 1)]
    assert (offset(central).seq, offset(central).state) == (3, State.STOPPED)
    feed.applier(central).apply([batch])
    assert (offset(central).seq, len(parked(central))) == (5, 3)


def test_to_stop_again_stops_at_what_depends_on_a_parked_record(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(bad).batch()])
    feed.insert(Tree()).end().update(bad).end().insert(Tree())
    batch = feed.batch()
    with override_settings(SOCKSTREAM={"MODELS": MODELS}), pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([batch])
    assert (stopped.value.seq, stopped.value.error.code) == (3, "behind-parked")
    assert Tree.objects.using(central).count() == 1
    assert len(parked(central)) == 1


def test_nothing_is_asked_while_nothing_is_parked(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Tree(), Tree()).batch()])
    connection = connections[central]
    connection.force_debug_cursor = True
    try:
        connection.queries_log.clear()
        applier.apply([feed.insert(Tree(), Tree()).batch()])
        asked = [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False
    assert asked
    assert not [sql for sql in asked if "sockstream_receiver_parked" in sql]


def test_what_is_parked_is_asked_once_a_session(central: str) -> None:
    take(central, 7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(Slot(position=7)).batch()])
    applier = feed.applier(central)
    connection = connections[central]
    connection.force_debug_cursor = True
    try:
        connection.queries_log.clear()
        for _ in range(3):
            applier.apply([feed.insert(Tree(), Slot(position=7)).batch()])
        asked = [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False
    assert len([sql for sql in asked if 'FROM "sockstream_receiver_parked"' in sql]) == 1


# What is heard of it.


def test_one_line_for_each_once_it_is_committed(
    central: str, caplog: pytest.LogCaptureFixture
) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    with caplog.at_level(logging.WARNING, "sockstream.receiver"):
        applier.apply([feed.insert(bad).batch(open=True)])
        assert not caplog.messages
        applier.apply([feed.update(bad).batch()])
    first, second = caplog.messages
    assert first.startswith(
        f"site-a/default: parked 1 (zoo.slot, key {bad.id}): Central's database"
    )
    assert second.endswith("Record 1 of the same row is parked")


def test_the_signal_counts_what_was_applied(central: str) -> None:
    take(central, 7)
    heard: list[dict[str, int]] = []

    def listen(counts: Any, **_: Any) -> None:
        heard.append(counts())

    records_applied.connect(listen)
    try:
        feed = Feed().insert(Slot(position=7), Slot(position=8), Parameter(name="p"))
        feed.applier(central).apply([feed.batch()])
    finally:
        records_applied.disconnect(listen)
    assert heard == [{"zoo.slot": 1, "zoo.parameter": 1}]


def test_a_crash_leaves_rows_offset_and_parked_records_together(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(central, 7)
    feed = Feed()
    applier = feed.applier(central)
    bad = Slot(position=7)
    batch = feed.insert(bad, Tree()).batch()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sockstream.receiver.applying.applier.move", crash)
        with pytest.raises(KeyboardInterrupt):
            applier.apply([batch])
    assert (parked(central), offset(central).seq, Tree.objects.using(central).count()) == ([], 0, 0)
    applier.apply([batch])
    assert applier.apply([batch]).records == 0
    assert (parked(central), offset(central).seq) == ([(1, "fault", 0)], 2)
    assert Tree.objects.using(central).count() == 1


def test_a_key_that_is_no_key_can_be_parked(central: str) -> None:
    layout = Layout("zoo.parameter", ("name",), ("value",))
    feed = Feed().raw(INSERT, layout, [{"a": 1}, "x"]).raw(INSERT, layout, ["good", "x"])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    applier.apply([feed.raw(2, layout, [{"a": 1}, "y"]).batch()])
    assert parked(central) == [(1, "fault", 0), (3, "row", 1)]
