"""A group that is applied while the rest of it comes, and the beginning of one that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from django.db import OperationalError, connections

from sockstream.receiver.applying import staging
from sockstream.receiver.applying.applier import Retry, Stopped
from sockstream.receiver.models import Offset, Staged
from sockstream.wire.records import Batch
from tests.integration.applier.feed import Feed
from tests.zoo.models import Bounded, Parameter


def names(count: int, prefix: str) -> list[Parameter]:
    return [Parameter(name=f"{prefix} {number}") for number in range(count)]


def parts(feed: Feed, number: int) -> list[Batch]:
    """One group in so many batches of two records."""
    return [
        feed.insert(*names(2, f"{n} of {feed.seq}")).batch(open=n < number - 1)
        for n in range(number)
    ]


def one_by_one(batches: Sequence[Batch]) -> Callable[[], Sequence[Batch]]:
    """They come as fast as they are asked for."""
    left = list(batches)
    return lambda: [left.pop(0)] if left else []


def count(using: str) -> int:
    return Parameter.objects.using(using).count()


def staged(using: str) -> int:
    return sum(Offset.objects.using(using).values_list("staged_seq", flat=True))


@pytest.fixture
def unstaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "add", None)


def test_it_is_in_one_transaction(central: str, unstaged: None) -> None:
    feed = Feed()
    first, *others = parts(feed, 5)
    seen, more = [], one_by_one(others)

    def look() -> Sequence[Batch]:
        seen.append((connections[central].in_atomic_block, count(central)))
        return more()

    applied = feed.applier(central).apply([first], more=look)
    assert (applied.offset, applied.records, applied.left) == (10, 10, 0)
    assert applied.digest == others[-1].digest_after
    assert seen == [(True, 2 * n) for n in range(1, 5)]
    assert count(central) == 10


def test_what_comes_behind_its_end(central: str, unstaged: None) -> None:
    feed = Feed()
    first = feed.insert(*names(2, "a")).batch(open=True)
    feed.insert(*names(1, "b")).end().insert(*names(3, "c")).end()
    last = feed.insert(*names(1, "d")).batch(open=True)
    applier = feed.applier(central)
    applied = applier.apply([first], more=one_by_one([last]), keeps=True)
    assert (applied.offset, applied.records, applied.left) == (6, 6, 1)
    end = feed.insert(*names(1, "e")).batch()
    applied = applier.apply([last, end], keeps=True)
    assert (applied.offset, applied.records, applied.left) == (8, 2, 0)
    assert count(central) == 8


def test_it_is_staged_when_nothing_more_is_here(central: str) -> None:
    feed = Feed()
    sent = parts(feed, 4)
    applier = feed.applier(central)
    applied = applier.apply(sent[:1], more=one_by_one(sent[1:3]))
    assert (applied.offset, applied.records, applied.staged) == (0, 0, 6)
    assert (count(central), staged(central)) == (0, 6)
    assert not connections[central].in_atomic_block
    # From then on it is not tried again: what was done would be done once more.
    applied = applier.apply(sent[3:], more=one_by_one([]))
    assert (applied.offset, applied.records) == (8, 8)


def test_a_record_that_cannot_be_applied_stops_where_its_group_ends(central: str) -> None:
    feed = Feed()
    good = feed.insert(*names(1, "good")).batch(open=True)
    bad = feed.insert(Bounded(low=9)).batch(open=True)
    end = feed.insert(*names(1, "end")).batch()
    applier = feed.applier(central)
    assert applier.apply([good], more=one_by_one([bad])).staged == 2
    with pytest.raises(Stopped) as stopped:
        applier.apply([end], more=one_by_one([]))
    assert stopped.value.seq == 2
    with pytest.raises(Stopped) as stopped:
        feed.applier(central, "site-b").apply([good], more=lambda: [bad, end])
    assert stopped.value.seq == 2
    assert count(central) == 0


def test_a_database_that_fails_meanwhile(central: str) -> None:
    feed = Feed()
    sent = parts(feed, 3)
    applier, broken = feed.applier(central), OperationalError("the database is busy")

    def more() -> Sequence[Batch]:
        raise broken

    with pytest.raises(Retry):
        applier.apply(sent[:1], more=more)
    assert (count(central), staged(central)) == (0, 0)
    assert applier.apply(sent[:2], more=one_by_one(sent[2:])).offset == 6
    assert count(central) == 6


def test_the_beginning_behind_whole_groups_is_left(central: str) -> None:
    feed = Feed()
    both = feed.insert(*names(2, "a")).end().insert(*names(1, "b")).batch(open=True)
    applier = feed.applier(central)
    for keeps, left, kept in ((True, 1, 0), (True, 0, 3)):
        applied = applier.apply([both], keeps=keeps)
        assert (applied.offset, applied.left, staged(central)) == (2, left, kept)
    applied = applier.apply([feed.insert(*names(1, "c")).batch()], keeps=True)
    assert (applied.offset, applied.records, applied.left) == (4, 2, 0)
    assert count(central) == 4
    assert not Staged.objects.using(central).exists()
