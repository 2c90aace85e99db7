"""A group in several batches: nobody sees half of it, and it is there as a whole or not at all."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import OperationalError, connections

from sockstream.receiver.applying.applier import Applied, Fenced, Retry, Stopped
from sockstream.receiver.applying.faults import transient
from sockstream.receiver.models import Offset, State
from sockstream.receiver.streams import offsets
from sockstream.wire.records import Batch
from tests.conftest import deferring
from tests.integration.applier.feed import Feed
from tests.zoo.models import Bounded, Category, Parameter, Slot


def rows(count: int, prefix: str) -> list[Parameter]:
    return [Parameter(name=f"{prefix} {number}") for number in range(count)]


def elsewhere(function: Any) -> Any:
    """The result of `function` in another thread: with another connection."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(function())
        except (RuntimeError, OperationalError) as error:
            found.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    return found[0]


def count(using: str) -> int:
    return Parameter.objects.using(using).count()


def test_it_is_seen_when_it_ends(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    whole = feed.insert(*rows(2, "before")).end().insert(*rows(3, "a")).batch(open=True)
    applied = applier.apply([whole])
    assert applied == Applied(2, applied.digest, 5, True)
    assert elsewhere(lambda: count(central)) == 2
    middle = applier.apply([feed.insert(*rows(3, "b")).batch(open=True)])
    assert (middle.offset, middle.records, middle.group_open) == (2, 3, True)
    assert elsewhere(lambda: count(central)) == 2
    last = feed.insert(*rows(3, "c")).end().insert(*rows(1, "after")).batch()
    end = applier.apply([last])
    assert (end.offset, end.records, end.group_open) == (12, 4, False)
    assert end.digest == last.digest_after
    assert elsewhere(lambda: count(central)) == 12
    assert Offset.objects.using(central).get().records_applied == 12


def test_one_open_group_after_another(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(2, "a")).batch(open=True)])
    feed.insert(*rows(2, "b")).end().insert(*rows(2, "c"))
    applied = applier.apply([feed.batch(open=True)])
    assert (applied.offset, applied.group_open) == (4, True)
    applied = applier.apply([feed.insert(*rows(1, "d")).batch()])
    assert (applied.offset, applied.group_open) == (7, False)


def test_all_of_it_in_one_call(central: str) -> None:
    feed = Feed()
    parts = [feed.insert(*rows(2, str(number))).batch(open=number < 3) for number in range(4)]
    applied = feed.applier(central).apply(parts)
    assert (applied.offset, applied.records, applied.group_open) == (8, 8, False)


def test_a_closed_one_is_rolled_back_and_comes_again(central: str) -> None:
    feed = Feed()
    first = feed.insert(*rows(2, "a")).batch(open=True)
    applier = feed.applier(central)
    applier.apply([first])
    applier.close()
    assert count(central) == 0
    second = feed.insert(*rows(2, "b")).batch()
    again = feed.applier(central)
    again.apply([first])
    assert again.apply([second]).offset == 4
    assert count(central) == 4


def test_parts_that_are_applied_are_skipped(central: str) -> None:
    feed = Feed()
    first, second = (
        feed.insert(*rows(2, "a")).batch(open=True),
        feed.insert(*rows(2, "b")).batch(),
    )
    feed.applier(central).apply([first, second])
    applier = feed.applier(central)
    applied = applier.apply([first])
    assert (applied.offset, applied.records, applied.group_open) == (4, 0, False)
    assert applier.apply([second]).records == 0


def test_a_bad_record_stops_the_whole_group(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(1, "before")).end().insert(*rows(2, "a")).batch(open=True)])
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(*rows(2, "b"), Bounded(low=9)).batch(open=True)])
    assert (stopped.value.seq, count(central)) == (6, 1)
    assert Offset.objects.using(central).get().seq == 1
    assert Offset.objects.using(central).get().state == State.STOPPED


def test_swaps_inside_of_it(central: str) -> None:
    one, two = Slot(position=1), Slot(position=2)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, two).batch(open=True)])
    one.position = 3
    feed.update(one)
    two.position = 1
    feed.update(two)
    one.position = 2
    applier.apply([feed.update(one).batch(open=True)])
    applier.apply([feed.insert(Slot(position=4)).batch()])
    found = Slot.objects.using(central).filter(position__lt=4)
    assert dict(found.values_list("id", "position")) == {one.id: 2, two.id: 1}


@deferring
def test_a_reference_that_is_broken_at_its_end(central: str) -> None:
    """The first time, the records are gone when the commit fails; the second time we look."""
    feed = Feed()
    orphan = Category(name="orphan", parent=Category(name="unsent"))
    parts = [
        feed.insert(Category(name="fine"), orphan).batch(open=True),
        feed.insert(Category(name="last")).batch(),
    ]
    with pytest.raises(Retry):
        _one_by_one(feed, parts, central)
    assert Offset.objects.using(central).get().state == State.CHECKING
    with pytest.raises(Stopped) as stopped:
        _one_by_one(feed, parts, central)
    assert stopped.value.error.code == "missing-reference"
    assert (stopped.value.model, stopped.value.key) == ("zoo.category", str(orphan.id))
    assert not Category.objects.using(central).exists()
    Category.objects.using(central).create(id=orphan.parent_id, name="sent after all")
    _one_by_one(feed, parts, central)
    row = Offset.objects.using(central).get()
    assert (row.seq, row.state, row.error) == (3, State.CONNECTED, "")


def _one_by_one(feed: Feed, parts: list[Batch], central: str) -> None:
    applier = feed.applier(central)
    for part in parts:
        applier.apply([part])


def test_a_newer_session_takes_over(databases: Any) -> None:
    """On PostgreSQL the old transaction holds the offset until its link is closed."""
    databases.clean("central_pg")
    feed = Feed()
    old = feed.applier("central_pg")
    first = feed.insert(*rows(2, "a")).batch(open=True)
    old.apply([first])
    opening = threading.Thread(target=lambda: elsewhere(lambda: feed.opened("central_pg")))
    opening.start()
    old.close()
    opening.join(30)
    with pytest.raises(Fenced):
        old.apply([first])


def test_another_process_holds_the_stream(databases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a transaction that may be that of a dead link."""
    databases.clean("central_pg")
    monkeypatch.setattr(offsets, "LOCK_WAIT", 100)
    feed = Feed()
    old = feed.applier("central_pg")
    old.apply([feed.insert(*rows(2, "a")).batch(open=True)])
    failed = elsewhere(lambda: feed.opened("central_pg"))
    assert isinstance(failed, OperationalError)
    error = transient(failed)
    assert error is not None
    assert error.code == "retry"
    assert old.apply([feed.insert(*rows(1, "b")).batch()]).offset == 3


def test_it_stays_in_its_thread(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(2, "a")).batch(open=True)])
    second = feed.insert(*rows(2, "b")).batch()
    found = elsewhere(applier._check_thread)
    assert isinstance(found, RuntimeError)
    assert applier.apply([second]).offset == 4
