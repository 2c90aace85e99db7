"""Rows that point to what comes later in their group, where central numbers both by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver.applying.applier import Applier, Stopped
from sockstream.receiver.applying.tables import numbers
from sockstream.receiver.applying.tables.holdings import Holdings
from sockstream.receiver.applying.tables.memory import Memory
from sockstream.receiver.models import HeldRow, Holding, Offset, Parked, Reserved
from sockstream.receiver.parked import retry
from sockstream.rows import describe
from sockstream.wire.records import BEGIN, DELETE, END, INSERT, LOAD, SAVE, UPDATE, Batch, Layout
from tests.heirs.models import Heir, Portrait
from tests.integration.applier.feed import Feed
from tests.zoo import models as zoo
from tests.zoo.models import Author, Essay, Slot

AUTHOR = Layout("zoo.author", ("id",), ("name", "mentor"))
ESSAY = Layout("zoo.essay", ("id",), ("title", "author", "editor"))
READERS = Layout("zoo.essay_readers", ("essay", "author"), ())
PORTRAIT = Layout("heirs.portrait", ("id",), ("shows",))
TREE = Layout("zoo.tree", ("id",), ("name",))
SLOT = Layout("zoo.slot", ("id",), ("name", "position"))
HEIR = Layout("heirs.heir", ("id",), ("follows",))


pytestmark = pytest.mark.usefixtures("in_pieces")


def put(feed: Feed, author: Author, op: int = INSERT) -> Feed:
    mentor = author.mentor.id.bytes if author.mentor else None
    return feed.raw(op, AUTHOR, (author.id.bytes, author.name, mentor))


def write(feed: Feed, essay: Essay, op: int = INSERT) -> Feed:
    return feed.raw(op, ESSAY, (essay.id.bytes, essay.title, essay.author.id.bytes, None))


def mentors(using: str) -> dict[str, str | None]:
    found = Author.objects.using(using).select_related("mentor")
    return {author.name: author.mentor and author.mentor.name for author in found}


def is_done(feed: Feed, using: str) -> bool:
    """Everything is applied, and nothing is promised any more."""
    return (
        Offset.objects.using(using).get().seq == feed.seq
        and not Reserved.objects.using(using).exists()
    )


@pytest.fixture
def pupil() -> Author:
    return Author(name="pupil", mentor=Author(name="mentor"))


@pytest.mark.parametrize("op", [INSERT, UPDATE])
def test_a_row_comes_batches_after_the_one_that_points_to_it(
    op: int, pupil: Author, central: str
) -> None:
    feed = Feed()
    applier = feed.applier(central)
    if op == UPDATE:
        applier.apply([put(feed, Author(id=pupil.id, name="alone")).batch()])
    applier.apply([put(feed, pupil, op).batch(open=True)])
    others = [Author(name=f"other {number}") for number in range(3)]
    applier.apply([feed.insert(*others).batch(open=True)])
    applier.apply([put(feed, pupil.mentor).batch()])
    assert mentors(central) == {
        "pupil": "mentor",
        "mentor": None,
        **{other.name: None for other in others},
    }
    assert is_done(feed, central)
    later = Author.objects.using(central).create(name="later")
    assert later.pkid == max(Author.objects.using(central).values_list("pkid", flat=True))


def test_a_reference_that_can_t_be_null(central: str) -> None:
    """One in another table, whose records usually come first."""
    author = Author(name="author")
    essays = [Essay(title=title, author=author) for title in ("one", "other")]
    feed = Feed()
    applier = feed.applier(central)
    for essay in essays:
        applier.apply([write(feed, essay).batch(open=True)])
    applier.apply([feed.insert(author).batch()])
    written = Author.objects.using(central).get().essays.values_list("title", flat=True)
    assert sorted(written) == ["one", "other"]
    assert is_done(feed, central)


@pytest.mark.parametrize("together", [True, False])
def test_rows_in_a_circle_that_can_t_be_null(together: bool, central: str) -> None:
    """Also the first row of a table, which can only point to itself."""
    founder, heir, one, other = Heir(), Heir(), Heir(), Heir()
    feed = Feed()
    with override_settings(SOCKSTREAM={"MODELS": ["heirs"]}):
        applier = feed.applier(central)
        rows = (founder, founder), (heir, founder), (one, other), (other, one)
        for row, follows in rows:
            feed.raw(INSERT, HEIR, (row.id.bytes, follows.id.bytes))
            if not together:
                applier.apply([feed.batch(open=True)])
        applier.apply([feed.raw(UPDATE, HEIR, (heir.id.bytes, founder.id.bytes)).batch()])
    heirs = Heir.objects.using(central).select_related("follows")
    assert {found.id: found.follows.id for found in heirs} == {r.id: f.id for r, f in rows}
    assert is_done(feed, central)
    with connections[central].constraint_checks_disabled():
        heirs.delete()


def test_a_row_that_came_is_written_again(pupil: Author, central: str) -> None:
    """Its number stays promised until the end."""
    feed = Feed()
    applier = feed.applier(central)
    assert pupil.mentor is not None
    applier.apply([put(feed, pupil).batch(open=True)])
    applier.apply([put(feed, pupil.mentor).batch(open=True)])
    for op in (SAVE, INSERT, UPDATE):
        pupil.mentor.name = f"after {op}"
        applier.apply([put(feed, pupil.mentor, op).batch(open=True)])
    feed.delete(pupil.mentor)
    applier.apply([feed.batch(open=True)])
    applier.apply([put(feed, pupil.mentor).batch()])
    assert mentors(central) == {"pupil": pupil.mentor.name, pupil.mentor.name: None}
    assert is_done(feed, central)


def test_the_row_that_points_changes_its_mind(pupil: Author, central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([put(feed, pupil).batch(open=True)])
    applier.apply([put(feed, Author(id=pupil.id, name="alone"), UPDATE).batch()])
    assert mentors(central) == {"alone": None}
    assert is_done(feed, central)


def test_the_database_refuses_what_is_written_at_once(pupil: Author, central: str) -> None:
    """So the records of one group are written in ever smaller parts, the pointing one first."""
    one, other = Slot(name="one", position=1), Slot(name="other", position=2)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, other).batch()])
    put(feed, pupil)
    for slot, position in ((one, None), (other, 1), (one, 2)):
        slot.position = position
        feed.update(slot)
    assert pupil.mentor is not None
    applier.apply([put(feed, pupil.mentor).batch()])
    assert mentors(central) == {"pupil": "mentor", "mentor": None}
    assert is_done(feed, central)


def apply_one_by_one(applier: Applier, batches: list[Batch]) -> None:
    for batch in batches:
        applier.apply([batch])


def in_batches(feed: Feed, *, long: bool) -> list[Batch]:
    """What was added as one group, in one batch or two."""
    first = [feed.batch(open=True)] if long else []
    return [*first, feed.insert(Slot(name="last")).batch()]


@pytest.mark.parametrize("long", [False, True])
def test_a_row_that_never_comes(long: bool, pupil: Author, central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    batches = in_batches(put(feed, pupil), long=long)
    with pytest.raises(Stopped) as stopped:
        apply_one_by_one(applier, batches)
    found = stopped.value
    assert (found.error.code, found.model) == ("missing-reference", "zoo.author")
    assert (found.key, found.seq) == (str(pupil.id), 1)
    assert pupil.mentor is not None
    words = f"'mentor' of zoo.author {pupil.id} points to zoo.author {pupil.mentor.id}"
    assert words in str(found.error)
    assert not Author.objects.using(central).exists()
    assert not Reserved.objects.using(central).exists()


def test_one_of_many_never_comes(central: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "_AT_ONCE", 2)
    feed = Feed()
    applier = feed.applier(central)
    pupils = [Author(name=f"pupil {n}", mentor=Author(name=f"mentor {n}")) for n in range(5)]
    for pupil in pupils:
        put(feed, pupil)
    first, last = feed.batch(open=True), max(pupils, key=lambda pupil: pupil.mentor.id)
    for pupil in pupils:
        if pupil is not last:
            put(feed, pupil.mentor)
    with pytest.raises(Stopped) as stopped:
        apply_one_by_one(applier, [first, feed.batch()])
    assert stopped.value.key == str(last.id)


def test_the_foreign_key_has_no_constraint(central: str) -> None:
    feed, portrait, heir = Feed(), Portrait(), Heir()
    with override_settings(SOCKSTREAM={"MODELS": ["heirs"]}):
        applier = feed.applier(central)
        feed.raw(INSERT, PORTRAIT, (portrait.id.bytes, heir.id.bytes))
        with pytest.raises(Stopped, match=f"'shows' of heirs.portrait {portrait.id}") as stopped:
            applier.apply([feed.batch()])
    assert stopped.value.error.code == "missing-reference"


def test_a_row_without_a_number_of_central_s_own_is_promised_none(central: str) -> None:
    numbers_ = numbers.Numbers(Holdings("site-a", "default", central), central, Memory())
    assert numbers_.draw(describe(Slot), [Slot().id.bytes]) is None


@pytest.mark.parametrize("long", [False, True])
def test_a_row_that_points_to_one_that_never_comes_is_parked(
    long: bool, pupil: Author, central: str
) -> None:
    feed = Feed()
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": "park"}):
        applier = feed.applier(central)
        apply_one_by_one(applier, in_batches(put(feed, pupil), long=long))
        for _ in range(2):
            parked = Parked.objects.using(central).get()
            assert (parked.key, parked.code) == (str(pupil.id), "missing-reference")
            assert is_done(feed, central)
            retry(central)


def test_a_cut_waits_for_a_row_that_was_promised(pupil: Author, central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    batch = replace(put(feed, pupil).batch(), cut=True)
    assert applier.apply([batch]).staged == 1
    assert pupil.mentor is not None
    applied = applier.apply([put(feed, pupil.mentor).batch()])
    assert (applied.offset, applied.staged) == (2, 0)
    assert mentors(central) == {"pupil": "mentor", "mentor": None}
    assert is_done(feed, central)


def snapshot(feed: Feed, *layouts: Layout) -> Feed:
    for layout in layouts:
        feed.raw(BEGIN, layout, ())
    return feed


def test_a_snapshot_leaves_out_a_row_that_it_brings_after_the_one_that_points_to_it(
    pupil: Author, central: str
) -> None:
    feed = Feed()
    applier = feed.applier(central)
    assert pupil.mentor is not None
    applier.apply([put(snapshot(feed, AUTHOR), pupil.mentor).batch(open=True)])
    feed.raw(LOAD, AUTHOR, ())
    applier.apply([put(feed, pupil, SAVE).batch(open=True)])
    applier.apply([put(feed, pupil.mentor, SAVE).batch(open=True)])
    applier.apply([feed.raw(END, AUTHOR, ()).batch()])
    assert mentors(central) == {"pupil": "mentor", "mentor": None}
    assert is_done(feed, central)


def test_a_row_that_makes_way_keeps_its_number(pupil: Author, central: str) -> None:
    """For what the snapshot has brought already, and for what it does not bring at all."""
    mentor = pupil.mentor
    assert mentor is not None
    essay = Essay(title="read", author=mentor)
    feed = Feed()
    applier = feed.applier(central)
    old, new = Slot(name="old", position=1), Slot(name="new", position=1)
    put(put(feed, mentor), pupil)
    write(feed, essay)
    feed.raw(INSERT, READERS, (essay.id.bytes, mentor.id.bytes))
    applier.apply([feed.insert(old).batch()])
    number = Author.objects.using(central).get(name="mentor").pkid
    snapshot(feed, AUTHOR, SLOT).raw(LOAD, AUTHOR, ()).raw(LOAD, SLOT, ())
    applier.apply([put(feed, pupil, SAVE).batch(open=True)])
    # In the way of the slot's number: every row that has not come goes, the mentor too.
    feed.raw(SAVE, SLOT, (new.id.bytes, "new", 1))
    applier.apply([feed.insert(Author(name="another")).batch(open=True)])
    applier.apply([put(feed, mentor, SAVE).batch(open=True)])
    applier.apply([feed.raw(END, SLOT, ()).raw(END, AUTHOR, ()).batch()])
    assert mentors(central) == {"pupil": "mentor", "mentor": None, "another": None}
    assert Author.objects.using(central).get(name="mentor").pkid == number
    found = Essay.objects.using(central).get()
    assert (found.author.name, found.readers.get().name) == ("mentor", "mentor")
    assert is_done(feed, central)


def test_what_names_a_row_that_made_way_is_found_by_it(pupil: Author, central: str) -> None:
    """It is deleted meanwhile, and the row does not come again."""
    mentor = pupil.mentor
    assert mentor is not None
    essay = Essay(title="read", author=pupil)
    feed = Feed()
    applier = feed.applier(central)
    old, new = Slot(name="old", position=1), Slot(name="new", position=1)
    put(put(feed, mentor), pupil)
    write(feed, essay)
    feed.raw(INSERT, READERS, (essay.id.bytes, mentor.id.bytes))
    applier.apply([feed.insert(old).batch()])
    snapshot(feed, AUTHOR, SLOT).raw(LOAD, AUTHOR, ()).raw(LOAD, SLOT, ())
    alone = Author(id=pupil.id, name="pupil")
    put(feed, alone, SAVE).raw(SAVE, SLOT, (new.id.bytes, "new", 1))
    applier.apply([feed.batch(open=True)])
    feed.raw(DELETE, READERS, (essay.id.bytes, mentor.id.bytes))
    applier.apply([feed.raw(END, SLOT, ()).raw(END, AUTHOR, ()).batch()])
    assert mentors(central) == {"pupil": None}
    assert not Essay.objects.using(central).get().readers.exists()
    assert HeldRow.objects.using(central).count() == 3
    assert is_done(feed, central)


def test_a_number_is_drawn_again_when_rows_make_way(central: str) -> None:
    """With the attempt before went the holding that it was promised under."""
    author = Author(name="author")
    essay, old, new = Essay(title="one", author=author), Slot(position=1), Slot(position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(old).batch()])
    snapshot(feed, ESSAY, SLOT).raw(LOAD, ESSAY, ()).raw(LOAD, SLOT, ())
    write(feed, essay, SAVE).raw(SAVE, SLOT, (new.id.bytes, "new", 1))
    applier.apply([feed.batch(open=True)])
    feed.insert(author).raw(END, SLOT, ()).raw(END, ESSAY, ())
    applier.apply([feed.batch()])
    assert Essay.objects.using(central).get().author.name == "author"
    holding = Holding.objects.using(central).get(model="zoo.author")
    assert HeldRow.objects.using(central).get(name=author.id).holding == holding.pk
    assert is_done(feed, central)


@pytest.mark.skipif(not hasattr(zoo, "Root"), reason="Django 6.1 brings DB_CASCADE")
def test_nothing_makes_way_that_takes_others_along(central: str) -> None:
    """The database would delete the root, which the snapshot does not bring."""
    tree = zoo.Tree(name="tree")
    old, new = Slot(name="old", position=1), Slot(name="new", position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(tree, old, zoo.Root(tree=tree)).batch()])
    snapshot(feed, TREE, SLOT).raw(LOAD, TREE, ()).raw(LOAD, SLOT, ())
    feed.insert(zoo.Tree(name="live")).raw(SAVE, SLOT, (new.id.bytes, "new", 1))
    feed.raw(SAVE, TREE, (tree.id.bytes, "saved"))
    applier.apply([feed.raw(END, SLOT, ()).raw(END, TREE, ()).batch()])
    assert zoo.Root._default_manager.using(central).get().tree.name == "saved"
    assert Slot.objects.using(central).get().name == "new"
