"""A group that the site cut somewhere: committed there, unless that breaks a foreign key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.db import connections

from sockstream.receiver.applying.applier import Applied, Applier
from sockstream.receiver.models import Offset
from tests.conftest import deferring
from tests.integration.applier.feed import Feed
from tests.zoo.models import Category

ROWS = 20_000

pytestmark = deferring


def cut(feed: Feed, applier: Applier, rows: Sequence[Category]) -> Applied:
    return applier.apply([replace(feed.insert(*rows).batch(), cut=True)])


def test_a_group_goes_on_until_nothing_is_missing(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    first, parent, other = (Category(name=name) for name in ("first", "parent", "other"))
    child = Category(name="child", parent=parent)
    applied = cut(feed, applier, [first])
    assert (applied.group_open, applied.offset) == (False, 1)
    for rows in ([child], [other]):
        applied = cut(feed, applier, rows)
        assert (applied.group_open, applied.offset) == (True, 1)
    applied = cut(feed, applier, [parent])
    assert (applied.group_open, applied.offset) == (False, 4)
    assert Offset.objects.using(central).get().seq == feed.seq
    assert Category.objects.using(central).get(name="child").parent == parent


def test_what_goes_on_after_a_cut_is_rolled_back_as_a_whole(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    cut(feed, applier, [Category(name="child", parent=Category(name="missing"))])
    applier.close()
    assert not Category.objects.using(central).exists()
    assert Offset.objects.using(central).get().seq == 0


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
    """What a cut takes: instructions of SQLite, or rows that PostgreSQL reads of the table."""
    before = _done(central)
    steps: list[int] = []
    if connections[central].vendor == "sqlite":
        connections[central].connection.set_progress_handler(lambda: steps.append(1), 1)
    assert not cut(feed, applier, [Category(name="child", parent=parent)]).group_open
    if connections[central].vendor == "sqlite":
        connections[central].connection.set_progress_handler(None, 1)
    return len(steps) + _done(central) - before


def _done(central: str) -> int:
    if connections[central].vendor == "sqlite":
        return 0
    with connections[central].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = %s",
            [Category._meta.db_table],
        )
        return int(cursor.fetchone()[0])
