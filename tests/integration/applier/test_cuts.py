"""A group that the site cut somewhere: committed there, unless that breaks a foreign key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from unittest import mock

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver.applying import applier as applying
from sockstream.receiver.applying.applier import Applied, Applier, Stopped
from sockstream.receiver.models import Offset, Staged
from sockstream.wire.records import DELETE, INSERT, Layout
from tests.heirs.models import Heir, Portrait
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Bounded, Category, Frame

ROWS = 20_000
HEIR = Layout("heirs.heir", ("id",), ("follows",))
FRAME = Layout("zoo.frame", ("id",), ("portrait",))
PICTURE = Layout("zoo.portrait", ("author",), ("caption",))
PORTRAIT = Layout("heirs.portrait", ("id",), ("shows",))


def cut(feed: Feed, applier: Applier, rows: Sequence[Category]) -> Applied:
    return applier.apply([replace(feed.insert(*rows).batch(), cut=True)])


def test_a_group_goes_on_until_nothing_is_missing(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    first, parent, other = (Category(name=name) for name in ("first", "parent", "other"))
    child = Category(name="child", parent=parent)
    applied = cut(feed, applier, [first])
    assert (applied.staged, applied.offset) == (0, 1)
    applied = cut(feed, applier, [child])
    assert (applied.staged, applied.offset) == (1, 1)
    assert Category.objects.using(central).get().name == "first"
    applied = cut(feed, applier, [parent, other])
    assert (applied.staged, applied.offset) == (0, 4)
    assert Offset.objects.using(central).get().seq == feed.seq
    assert Category.objects.using(central).get(name="child").parent == parent
    assert not Staged.objects.using(central).exists()


def test_a_row_whose_number_is_that_of_a_row_to_come(central: str) -> None:
    """Nobody can draw one for it: its key is a reference itself."""
    feed = Feed()
    applier = feed.applier(central)
    author = Author(name="painted")
    framed = feed.raw(INSERT, FRAME, [b"f" * 16, author.id.bytes]).batch()
    assert applier.apply([replace(framed, cut=True)]).staged == 1
    feed.insert(author).raw(INSERT, PICTURE, [author.id.bytes, "late"])
    applied = applier.apply([feed.batch()])
    assert (applied.offset, applied.staged) == (3, 0)
    captions = Frame.objects.using(central).values_list("portrait__caption", flat=True)
    assert list(captions) == ["late"]


def test_a_record_that_nothing_can_mend_stops_at_the_cut(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    with pytest.raises(Stopped) as stopped:
        applier.apply([replace(feed.insert(Bounded(low=9)).batch(), cut=True)])
    assert (stopped.value.seq, stopped.value.error.code) == (1, "record-refused")


def test_a_group_that_cannot_end_is_there_at_its_real_end(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    parent = Category(name="parent")
    for number in range(5):
        cut(feed, applier, [Category(name=str(number), parent=parent)])
    assert Offset.objects.using(central).get().staged_seq == 5
    assert applier.apply([feed.insert(parent).batch()]).offset == 6
    assert Category.objects.using(central).filter(parent=parent).count() == 5


def test_a_group_does_not_end_between_a_delete_and_the_insert_of_the_same_row(
    central: str,
) -> None:
    """No constraint would tell: a row that comes again gets the number that it had."""
    heir, key = Heir(), b"p" * 16
    feed = Feed()
    with override_settings(SOCKSTREAM={"MODELS": ["heirs"]}):
        applier = feed.applier(central)
        feed.raw(INSERT, HEIR, [heir.id.bytes, heir.id.bytes])
        applier.apply([feed.raw(INSERT, PORTRAIT, [key, heir.id.bytes]).batch()])
        gone = replace(feed.raw(DELETE, HEIR, [heir.id.bytes]).batch(), cut=True)
        assert applier.apply([gone]).staged == 1
        back = feed.raw(INSERT, HEIR, [heir.id.bytes, heir.id.bytes]).batch()
        assert applier.apply([replace(back, cut=True)]).offset == feed.seq
    assert Portrait.objects.using(central).get().shows.id == heir.id


@pytest.fixture
def written() -> Iterator[list[int]]:
    """How many records each attempt has written."""
    counts: list[int] = []
    whole = Applier._write

    def write(self: Applier, *args: object) -> object:
        counts.append(0)
        counts[-1] = sum(found.values()) if (found := whole(self, *args)) else 0  # type: ignore[arg-type]
        return found

    with mock.patch.object(applying.Applier, "_write", write):
        yield counts


@pytest.mark.parametrize("by_many", [True, False], ids=["many appliers", "one applier"])
def test_the_attempts_at_cuts_cost_no_more_than_the_whole(
    central: str, written: list[int], by_many: bool
) -> None:
    """Also where each connection breaks after a cut, so that nobody remembers the last attempt."""
    feed = Feed()
    applier = feed.applier(central)
    missing = Category(name="missing")
    for number in range(40):
        cut(feed, applier, [Category(name=str(number), parent=missing)])
        if by_many:
            applier = feed.applier(central)
    assert len(written) == 6
    assert sum(written) < 2 * feed.seq
    assert applier.apply([feed.insert(missing).batch()]).offset == feed.seq
    assert sum(written) < 3 * feed.seq


def test_a_cut_costs_the_same_in_a_large_table(central: str) -> None:
    """Whether a foreign key is broken is not found by reading the tables."""
    feed = Feed()
    applier = feed.applier(central)
    parent = Category(name="parent")
    cut(feed, applier, [parent])
    few = work(central, feed, applier, parent)
    Category.objects.using(central).bulk_create(
        Category(name=str(number), parent=parent) for number in range(ROWS)
    )
    assert work(central, feed, applier, parent) < few + ROWS / 2


def work(central: str, feed: Feed, applier: Applier, parent: Category) -> int:
    """What a cut takes: instructions of SQLite, or rows that another database reads."""
    before = _done(central)
    steps: list[int] = []
    if connections[central].vendor == "sqlite":
        connections[central].connection.set_progress_handler(lambda: steps.append(1), 1)
    assert not cut(feed, applier, [Category(name="child", parent=parent)]).staged
    if connections[central].vendor == "sqlite":
        connections[central].connection.set_progress_handler(None, 1)
    return len(steps) + _done(central) - before


def _done(central: str) -> int:
    if connections[central].vendor == "sqlite":
        return 0
    with connections[central].cursor() as cursor:
        if cursor.db.vendor == "mysql":
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(count) for _, count in cursor.fetchall())
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = %s",
            [Category._meta.db_table],
        )
        return int(cursor.fetchone()[0])
