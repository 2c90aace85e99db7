"""A group in several batches: staged as it comes, and there as a whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.test import override_settings

from sockstream.receiver.applying import applier as applying
from sockstream.receiver.applying import progress, staging
from sockstream.receiver.applying.applier import Applied, Applier, Fenced, Retry, Stopped
from sockstream.receiver.applying.faults import transient
from sockstream.receiver.models import Offset, Staged, State
from sockstream.receiver.streams import offsets, registry
from sockstream.receiver.streams.names import Name
from sockstream.wire.errors import WireError
from sockstream.wire.records import Batch
from tests.databases import Databases
from tests.integration.applier.feed import EPOCH, Feed
from tests.zoo.models import Bounded, Category, Parameter, Slot

OTHER_EPOCH = bytes(16)


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


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def parts(feed: Feed, number: int) -> list[Batch]:
    """One group in so many batches of two records."""
    return [
        feed.insert(*rows(2, f"{n} of {feed.seq}")).batch(open=n < number - 1)
        for n in range(number)
    ]


def test_it_is_seen_when_it_ends(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    whole = feed.insert(*rows(2, "before")).end().insert(*rows(3, "a")).batch(open=True)
    applied = applier.apply([whole])
    assert applied == Applied(2, applied.digest, 2, 3)
    assert elsewhere(lambda: count(central)) == 2
    middle = applier.apply([feed.insert(*rows(3, "b")).batch(open=True)])
    assert (middle.offset, middle.records, middle.staged) == (2, 0, 6)
    assert elsewhere(lambda: count(central)) == 2
    last = feed.insert(*rows(3, "c")).end().insert(*rows(1, "after")).batch()
    end = applier.apply([last])
    assert (end.offset, end.records, end.staged) == (12, 10, 0)
    assert end.digest == last.digest_after
    assert elsewhere(lambda: count(central)) == 12
    assert offset(central).records_applied == 12
    assert not Staged.objects.using(central).exists()


def test_no_transaction_is_open_between_two_calls(central: str) -> None:
    """Somebody else writes at central, and does not wait."""
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(2, "a")).batch(open=True)])
    assert not connections[central].in_atomic_block
    made = elsewhere(lambda: Parameter.objects.using(central).create(name="of central"))
    assert isinstance(made, Parameter)
    assert applier.apply([feed.insert(*rows(1, "b")).batch()]).offset == 3
    assert count(central) == 4


def test_one_open_group_after_another(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(2, "a")).batch(open=True)])
    feed.insert(*rows(2, "b")).end().insert(*rows(2, "c"))
    applied = applier.apply([feed.batch(open=True)])
    assert (applied.offset, applied.staged) == (4, 2)
    assert offset(central).staged_seq == 6
    applied = applier.apply([feed.insert(*rows(1, "d")).batch()])
    assert (applied.offset, applied.staged) == (7, 0)
    assert count(central) == 7


def test_what_is_here_in_whole_is_applied_at_once(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "add", None)
    feed = Feed()
    applied = feed.applier(central).apply(parts(feed, 4))
    assert (applied.offset, applied.records, applied.staged) == (8, 8, 0)


def test_another_applier_goes_on(central: str) -> None:
    """The line broke: the site resumes after what is staged."""
    feed = Feed()
    for n, part in enumerate(parts(feed, 5)):
        opened = feed.opened(central)
        assert (opened.offset, opened.staged_seq) == (0, 2 * n)
        assert opened.staged_digest == part.digest_before
        Applier("site-a", opened.stream, opened.fence, using=central).apply([part])
    assert (count(central), offset(central).seq) == (10, 10)
    assert not Staged.objects.using(central).exists()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_site_that_sends_all_of_it_again(at_once: bool, central: str) -> None:
    feed = Feed()
    sent = parts(feed, 4)
    feed.applier(central).apply(sent[:2])
    applier = feed.applier(central)
    for batches in [sent] if at_once else [[part] for part in sent]:
        applier.apply(batches)
    at = offset(central)
    assert (count(central), at.seq, at.inserts_met, at.staged_seq) == (8, 8, 0, 0)


def test_batches_that_are_applied_are_skipped(central: str) -> None:
    feed = Feed()
    first, second = parts(feed, 2)
    feed.applier(central).apply([first, second])
    applier = feed.applier(central)
    applied = applier.apply([first])
    assert (applied.offset, applied.records, applied.staged) == (4, 0, 0)
    assert applier.apply([second]).records == 0


@pytest.mark.parametrize("same", [0, 1, 3])
def test_a_site_that_sends_something_else_has_changed_nothing(same: int, central: str) -> None:
    """It was restored: the first `same` batches are as they were. The rest of what is staged is
    dropped."""
    feed, restored = Feed(), Feed()
    applier = feed.applier(central)
    for part in parts(feed, 4)[:3]:
        applier.apply([part])
    again = [
        restored.insert(*rows(2, f"{n} of {restored.seq}" if n < same else f"new {n}")).batch(
            open=n < 4
        )
        for n in range(5)
    ]
    applier = feed.applier(central)
    for part in again:
        applier.apply([part])
    names = set(Parameter.objects.using(central).values_list("name", flat=True))
    assert (len(names), offset(central).seq) == (10, 10)
    assert {f"new {n} 0" for n in range(same, 5)} <= names


def test_a_gap_after_what_is_staged(central: str) -> None:
    feed = Feed()
    first, _, third = parts(feed, 3)
    applier = feed.applier(central)
    applier.apply([first])
    with pytest.raises(WireError, match="Record 3 was to come next, and 5 came"):
        applier.apply([third])
    assert offset(central).staged_seq == 2


def test_a_hello_that_is_judged_drops_nothing(central: str) -> None:
    """The link that has the stream goes on meanwhile; only the next one that opens it drops."""
    feed = Feed()
    first, last = parts(feed, 2)
    applier = feed.applier(central)
    applier.apply([first])
    offsets.judge("site-a", feed.hello(epoch=OTHER_EPOCH, parent_epoch=EPOCH), using=central)
    assert offset(central).staged_seq == 2
    assert applier.apply([last]).offset == 4


def test_another_epoch_drops_it(central: str) -> None:
    feed = Feed()
    feed.applier(central).apply(parts(feed, 2)[:1])
    opened = feed.opened(central, epoch=OTHER_EPOCH, parent_epoch=EPOCH)
    assert (opened.offset, opened.staged_seq) == (0, 0)
    assert not Staged.objects.using(central).exists()


def test_adopting_drops_it(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(1, "before")).batch()])
    applier.apply([feed.insert(*rows(1, "a")).batch(open=True)])
    registry.adopt(Name("site-a"), using=central)
    assert feed.opened(central).staged_seq == 0
    assert not Staged.objects.using(central).exists()


def test_it_has_a_limit(central: str) -> None:
    feed = Feed()
    sent = parts(feed, 4)
    most = 2 * sent[0].size
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "STAGED_MAX": most}):
        applier = feed.applier(central)
        applier.apply(sent[:1])
        applier.apply(sent[1:2])
        with pytest.raises(WireError, match="STAGED_MAX") as failed:
            applier.apply(sent[2:3])
    assert (failed.value.code, failed.value.seq) == ("group-too-large", 1)
    at = offset(central)
    assert (at.staged_seq, at.staged_bytes) == (4, most)
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "STAGED_MAX": 2 * most}):
        assert feed.applier(central).apply(sent[2:]).offset == 8


def test_a_bad_record_stops_the_whole_group(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(1, "before")).end().insert(*rows(2, "a")).batch(open=True)])
    applier.apply([feed.insert(*rows(2, "b"), Bounded(low=9)).batch(open=True)])
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(*rows(1, "c")).batch()])
    assert (stopped.value.seq, count(central)) == (6, 1)
    at = offset(central)
    assert (at.seq, at.state, at.staged_seq) == (1, State.STOPPED, 6)


@pytest.mark.usefixtures("in_pieces")
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


@pytest.mark.usefixtures("in_pieces")
def test_a_reference_that_is_broken_at_its_end(central: str) -> None:
    """The record is found in what is staged, without the site."""
    feed = Feed()
    orphan = Category(name="orphan", parent=Category(name="unsent"))
    first = feed.insert(Category(name="fine"), orphan).batch(open=True)
    second = feed.insert(Category(name="other")).batch(open=True)
    last = feed.insert(Category(name="last")).batch()
    applier = feed.applier(central)
    for part in (first, second):
        applier.apply([part])
    for _ in range(2):
        with pytest.raises(Stopped) as stopped:
            applier.apply([last])
        assert stopped.value.error.code == "missing-reference"
        found = stopped.value
        assert (found.model, found.key, found.seq) == ("zoo.category", str(orphan.id), 2)
    assert not Category.objects.using(central).exists()
    Category.objects.using(central).create(id=orphan.parent_id, name="sent after all")
    applier.apply([last])
    row = offset(central)
    assert (row.seq, row.state, row.error) == (4, State.CONNECTED, "")


def test_a_newer_session_takes_over(central: str) -> None:
    feed = Feed()
    old = feed.applier(central)
    first, second, third = parts(feed, 3)
    old.apply([first])
    new = feed.applier(central)
    with pytest.raises(Fenced):
        old.apply([second])
    new.apply([second])
    with pytest.raises(Fenced):
        old.apply([third])
    assert new.apply([third]).offset == 6


def test_another_process_holds_the_stream(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a transaction that may be that of a dead link."""
    databases.clean("central_pg")
    monkeypatch.setattr(offsets, "LOCK_WAIT", 100)
    feed = Feed()
    old = feed.applier("central_pg")
    failed: list[Any] = []
    whole = progress.move

    def moved(*args: Any) -> None:
        failed.append(elsewhere(lambda: feed.opened("central_pg")))
        whole(*args)

    monkeypatch.setattr(applying, "move", moved)
    assert old.apply([feed.insert(*rows(2, "a")).batch()]).offset == 2
    [error] = failed
    assert isinstance(error, OperationalError)
    found = transient(error)
    assert found is not None
    assert found.code == "retry"


class Lost(OperationalError):
    """The connection was gone when the answer to COMMIT was to come."""


@pytest.fixture(params=["done", "not done"])
def losing(
    request: pytest.FixtureRequest, central: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[int], None]]:
    """Lose the answer to one COMMIT, so many after this one; it was done, or not."""
    connection: Any = connections[central]
    whole = connection._commit
    left = [-1]

    def commit() -> None:
        left[0] -= 1
        if left[0] != 0:
            whole()
            return
        if request.param == "done":
            whole()
        connection.close_if_unusable_or_obsolete()
        raise Lost("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "_commit", commit)
    yield lambda number: left.__setitem__(0, number + 1)
    connection.close()


@pytest.mark.parametrize("which", range(3), ids=["staged", "staged again", "the end"])
def test_the_answer_to_commit_is_lost(
    which: int, central: str, losing: Callable[[int], None]
) -> None:
    """The same applier gets the same batches again, as the queue gives them."""
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows(1, "before")).batch()])
    sent = parts(feed, 3)
    for n, part in enumerate(sent):
        if n == which:
            losing(0)
            with pytest.raises(Retry):
                applier.apply([part])
        applied = applier.apply([part])
    assert applied.offset == 7
    at = offset(central)
    assert (count(central), at.records_applied, at.inserts_met, at.staged_seq) == (7, 7, 0, 0)


def test_a_format_that_this_version_does_not_know(central: str) -> None:
    feed = Feed()
    first, last = parts(feed, 2)
    applier = feed.applier(central)
    applier.apply([first])
    Staged.objects.using(central).update(version=99)
    with pytest.raises(WireError, match="stored format 99"):
        applier.apply([last])
    assert offset(central).seq == 0


def test_a_batch_whose_first_groups_are_applied_is_staged_as_it_is(central: str) -> None:
    """Batches are never cut: the next applier finds the whole one, and skips its beginning."""
    feed = Feed()
    batch = feed.insert(*rows(2, "a")).end().insert(*rows(2, "b")).batch(open=True)
    last = feed.insert(*rows(1, "c")).batch()
    feed.applier(central).apply([batch])
    assert Staged.objects.using(central).get().first_seq == 1
    feed.applier(central).apply([batch])
    assert offset(central).staged_seq == 4
    feed.applier(central).apply([last])
    at = offset(central)
    assert (at.seq, at.records_applied, at.inserts_met) == (5, 5, 0)


def test_records_that_are_not_what_was_numbered(central: str) -> None:
    """Found before they are staged."""
    feed = Feed()
    first, _ = parts(feed, 2)
    with pytest.raises(WireError) as failed:
        feed.applier(central).apply([replace(first, data=first.data[:-1] + b"!")])
    assert failed.value.code == "digest-mismatch"
    assert not Staged.objects.using(central).exists()
