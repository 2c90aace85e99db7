"""Who may move the offset: one session, from where it stands, and nobody twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from django.db import OperationalError, connections

from sockstream.receiver.applying.applier import Applier, Fenced, Retry
from sockstream.receiver.applying.faults import transient
from sockstream.receiver.applying.parts import Part
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.models import Offset
from sockstream.wire.errors import WireError
from sockstream.wire.records import Batch, segments
from tests.integration.applier.feed import Feed
from tests.zoo.models import Parameter


def rows(count: int, prefix: str = "row") -> list[Parameter]:
    return [Parameter(name=f"{prefix} {number}") for number in range(count)]


def seq(using: str) -> int:
    return Offset.objects.using(using).get().seq


def test_the_older_of_two_is_fenced(central: str) -> None:
    feed = Feed()
    first, second = feed.insert(*rows(3)).batch(), feed.insert(*rows(3, "more")).batch()
    old = feed.applier(central)
    old.apply([first])
    new = feed.applier(central)
    with pytest.raises(Fenced):
        old.apply([second])
    assert (seq(central), Parameter.objects.using(central).count()) == (3, 3)
    new.apply([second])
    assert (seq(central), Parameter.objects.using(central).count()) == (6, 6)


@pytest.mark.parametrize("field", ["fence", "session", "seq", "epoch", "digest"])
def test_an_offset_that_moved_meanwhile_is_left_alone(
    field: str, central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks make it impossible; if they ever don't, the transaction must not commit."""
    values = {"fence": 1, "session": 99, "seq": 2, "epoch": b"e", "digest": b"d"}
    write = Writer.write

    def write_and_move(self: Writer, parts: Sequence[Part], **how: bool) -> Meetings:
        Offset.objects.using(central).update(**{field: values[field]})
        return write(self, parts, **how)

    feed = Feed()
    applier = feed.applier(central)
    monkeypatch.setattr(Writer, "write", write_and_move)
    with pytest.raises(Fenced):
        applier.apply([feed.insert(*rows(3)).batch()])
    assert (seq(central), Parameter.objects.using(central).count()) == (0, 0)


def test_a_crash_before_the_commit_leaves_nothing(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed()
    applier = feed.applier(central)
    batch = feed.insert(*rows(3)).batch()
    with monkeypatch.context() as patch:
        patch.setattr("sockstream.receiver.applying.applier.move", _crash)
        with pytest.raises(KeyboardInterrupt):
            applier.apply([batch])
    assert (seq(central), Parameter.objects.using(central).count()) == (0, 0)
    applier.apply([batch])
    assert (seq(central), Parameter.objects.using(central).count()) == (3, 3)


def _crash(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_was_applied_is_skipped(central: str) -> None:
    feed = Feed()
    first = feed.insert(*rows(3)).batch()
    second = feed.insert(*rows(3, "more")).batch()
    applier = feed.applier(central)
    assert applier.apply([first]).records == 3
    again = applier.apply([first])
    assert (again.offset, again.records, again.digest) == (3, 0, first.digest_after)
    both = applier.apply([first, second])
    assert (both.offset, both.records) == (6, 3)
    row = Offset.objects.using(central).get()
    assert (row.records_applied, row.inserts_met) == (6, 0)


def test_of_an_overlap_only_the_tail_is_applied(central: str) -> None:
    feed = Feed()
    for row in rows(4):
        feed.insert(row).end()
    whole = feed.batch()
    applier = feed.applier(central)
    head = _cut(whole, 2)
    applier.apply([head])
    applied = applier.apply([whole])
    assert (applied.offset, applied.records) == (4, 2)
    assert Offset.objects.using(central).get().inserts_met == 0


def _cut(batch: Batch, groups: int) -> Batch:
    """The first groups of a batch, as a batch."""
    parts = batch.segments[:groups]
    size = sum(part.size for part in parts)
    digest = [each.digest_after for each in segments(batch)][groups - 1]
    return replace(batch, segments=parts, data=batch.data[:size], digest_after=digest)


def test_a_gap_is_no_duplicate(central: str) -> None:
    feed = Feed()
    feed.insert(*rows(3)).batch()
    second = feed.insert(*rows(3, "more")).batch()
    with pytest.raises(WireError) as gap:
        feed.applier(central).apply([second])
    assert (gap.value.code, gap.value.seq) == ("gap", 1)
    assert seq(central) == 0


def test_another_history_is_not_continued(central: str) -> None:
    ours, theirs = Feed(), Feed()
    first = ours.insert(*rows(3)).batch()
    applier = ours.applier(central)
    applier.apply([first])
    same_numbers = theirs.insert(*rows(3, "theirs")).batch()
    after = theirs.insert(*rows(1, "after")).batch()
    for batches in ([same_numbers], [after], [same_numbers, after]):
        with pytest.raises(WireError) as diverged:
            applier.apply(batches)
        assert diverged.value.code == "history-diverged"
    inside = Feed()
    inside.insert(*rows(5, "inside"))
    with pytest.raises(WireError) as diverged:
        applier.apply([inside.batch()])
    assert diverged.value.code == "history-diverged"
    assert (seq(central), Parameter.objects.using(central).count()) == (3, 3)


def test_two_appliers_at_the_same_time(central: str) -> None:
    """Each takes the stream over a few times, in the middle of the others' work."""
    feed = Feed()
    sent = [feed.insert(*rows(20, f"batch {number}")).batch() for number in range(20)]
    failures: list[str] = []

    def run() -> None:
        try:
            failures.append("not finished")
            for _ in range(4):
                _apply_some(_taken_over(feed, central), sent)
            failures.pop()
        finally:
            connections.close_all()

    feed.opened(central)
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    _apply_some(feed.applier(central), sent)
    row = Offset.objects.using(central).get()
    assert (row.seq, row.records_applied, row.inserts_met) == (400, 400, 0)
    assert Parameter.objects.using(central).count() == 400


def _taken_over(feed: Feed, central: str) -> Applier:
    """An applier of the stream. MariaDB may choose us to break a deadlock: a site comes again."""
    while True:
        try:
            return feed.applier(central)
        except OperationalError as error:
            if transient(error) is None:
                raise


def _apply_some(applier: Applier, sent: Sequence[Batch]) -> None:
    for batch in sent:
        try:
            applier.apply([batch])
        except Fenced:
            return
        except Retry:
            continue
        except WireError:
            return  # a gap: somebody else is further back than our next batch
