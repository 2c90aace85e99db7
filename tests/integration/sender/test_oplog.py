"""The oplog: batches in order, kept until they are acked and old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from sockstream.exceptions import SockstreamError
from sockstream.sender.models import Acked, Batch, Stream
from sockstream.sender.oplog import store
from sockstream.wire import digest, records
from sockstream.wire.errors import WireError

LAYOUT = records.Layout("polls.tag", ("id",), ("name",))
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WEEK = 7 * DAY
LONG_AGO = 30 * DAY


def batch_of(
    first_seq: int, before: bytes, groups: list[int], *, open_: bool = False
) -> records.Batch:
    builder = records.BatchBuilder(first_seq, before)
    seq = first_seq
    for count in groups:
        builder.end_group()
        for _ in range(count):
            builder.add(records.INSERT, LAYOUT, [seq.to_bytes(16), f"tag {seq}"])
            seq += 1
    return builder.build(open=open_)


def grow(site: str, *groups: list[int], open_: bool = False, age: timedelta = timedelta()) -> None:
    for number, counts in enumerate(groups, 1):
        head = store.head(site)
        last = number == len(groups)
        batch = batch_of(head.seq + 1, head.digest, counts, open_=open_ and last)
        store.append(batch, site, timezone.now() - age)


def ack(seq: int, site: str, *, ago: timedelta = timedelta()) -> None:
    store.note_ack(seq, site, store.head(site).epoch)
    Stream.objects.using(site).filter(acked_seq=seq).update(acked_at=timezone.now() - ago)


def test_a_stream_begins_at_zero_and_keeps_its_epoch(site: str) -> None:
    head = store.head(site)
    assert (head.seq, head.digest, len(head.epoch)) == (0, digest.ZERO, 16)
    assert store.head(site) == head


def test_what_was_appended_is_read_back_byte_by_byte(site: str) -> None:
    batch = batch_of(1, digest.ZERO, [2, 1])
    store.stream(site)
    store.append(batch, site, timezone.now())
    assert list(store.read(1, site, 10)) == [batch]
    assert store.head(site).digest == batch.digest_after
    assert [part.ends_group for part in records.segments(batch)] == [True, True]


def test_reading_begins_with_the_batch_that_holds_the_seq(site: str) -> None:
    grow(site, [3], [3], [3])
    assert [batch.first_seq for batch in store.read(5, site, 10)] == [4, 7]
    assert [batch.first_seq for batch in store.read(1, site, 2)] == [1, 4]
    assert list(store.read(10, site, 10)) == []


def test_a_group_is_held_back_until_it_is_there_to_its_end(site: str) -> None:
    grow(site, [2], [3], open_=True)
    assert [batch.first_seq for batch in store.read(1, site, 10)] == [1]
    grow(site, [1])
    assert [batch.first_seq for batch in store.read(1, site, 10)] == [1, 3, 6]


def test_a_second_sequencer_is_fenced(site: str) -> None:
    grow(site, [2])
    with pytest.raises(SockstreamError, match="moved by another process"):
        store.append(batch_of(2, digest.ZERO, [1]), site, timezone.now())


def test_the_digest_is_known_at_every_group_end_that_is_held(site: str) -> None:
    grow(site, [1, 2], [2])
    (first, second) = store.read(1, site, 2)
    inside = [part.digest_after for part in records.segments(first)]
    found = {seq: store.digest_at(seq, site) for seq in range(7)}
    assert found == {
        0: digest.ZERO,
        1: inside[0],
        2: None,
        3: inside[1],
        4: None,
        5: second.digest_after,
        6: None,
    }


def test_only_what_was_acked_long_ago_is_pruned(site: str) -> None:
    grow(site, [2], [2], age=LONG_AGO)
    grow(site, [2])
    assert store.prune(site, WEEK) == 0
    ack(4, site, ago=LONG_AGO)
    assert store.prune(site, WEEK) == 2
    assert store.held(site) == store.Held(5, 6)
    assert Stream.objects.using(site).get().pruned_seq == 4


def test_it_is_kept_from_its_ack_on_however_old_it_was_then(site: str) -> None:
    """Central may be restored from a backup of a moment ago, after a site was offline for weeks."""
    grow(site, [2], [2], age=LONG_AGO)
    ack(2, site, ago=WEEK - DAY)
    assert store.prune(site, WEEK) == 0
    ack(4, site)
    assert store.prune(site, WEEK) == 0
    Acked.objects.using(site).filter(seq=2).update(at=F("at") - 2 * DAY)
    assert store.prune(site, WEEK) == 1
    assert store.held(site) == store.Held(3, 4)


def test_how_far_central_has_come_is_noted_now_and_then(site: str) -> None:
    """In a hundredth of the retention once: its notes stay few."""
    grow(site, *[[1]] * 3)
    for seq in (1, 2, 3):
        ack(seq, site, ago=(3 - seq) * MINUTE)
        store.prune(site, WEEK)
    assert [each.seq for each in Acked.objects.using(site).all()] == [1]
    Acked.objects.using(site).update(at=F("at") - WEEK / 100)
    store.prune(site, WEEK)
    assert sorted(each.seq for each in Acked.objects.using(site).all()) == [1, 3]


def test_the_last_ack_before_a_long_silence_is_noted_too(site: str) -> None:
    grow(site, [1], [1])
    ack(1, site, ago=LONG_AGO)
    assert store.prune(site, WEEK) == 1
    ack(2, site, ago=LONG_AGO)
    assert store.prune(site, WEEK) == 1


def test_a_central_that_was_rewound_takes_its_acks_back(site: str) -> None:
    grow(site, [2], [2], [2], age=LONG_AGO)
    ack(4, site, ago=LONG_AGO)
    assert store.prune(site, LONG_AGO * 2) == 0
    ack(6, site, ago=LONG_AGO)
    store.note_session(7, 2, site)
    row = Stream.objects.using(site).get()
    assert (row.acked_seq, row.session, row.welcomed) == (2, 7, True)
    assert store.backlog(site) == (0, 4)
    assert store.prune(site, WEEK) == 0
    ack(6, site)
    assert store.prune(site, WEEK) == 0
    store.note_session(8, 6, site)
    assert Stream.objects.using(site).get().acked_seq == 6


def test_an_ack_of_another_epoch_is_not_noted(site: str) -> None:
    grow(site, [5])
    before = store.head(site).epoch
    store.fork(site)
    grow(site, [5])
    store.note_ack(5, site, before)
    assert Stream.objects.using(site).get().acked_seq == 0
    ack(5, site)
    assert Stream.objects.using(site).get().acked_seq == 5


def test_a_batch_of_which_only_a_part_is_acked_stays(site: str) -> None:
    grow(site, [2, 2], age=LONG_AGO)
    ack(2, site, ago=LONG_AGO)
    assert store.prune(site, WEEK) == 0


def test_the_digest_survives_pruning(site: str) -> None:
    grow(site, [2], [2], age=LONG_AGO)
    at_two = store.digest_at(2, site)
    at_four = store.digest_at(4, site)
    ack(2, site, ago=LONG_AGO)
    store.prune(site, WEEK)
    assert store.digest_at(2, site) == at_two
    ack(4, site, ago=LONG_AGO)
    store.prune(site, WEEK)
    assert store.digest_at(4, site) == at_four
    assert store.held(site) == store.Held(5, 4)
    assert store.whole_up_to(site) == 4


def test_many_batches_are_pruned_in_one_call(site: str) -> None:
    grow(site, *[[1]] * 250, age=LONG_AGO)
    ack(250, site, ago=LONG_AGO)
    assert store.prune(site, WEEK) == 250


def test_an_ack_never_goes_back(site: str) -> None:
    grow(site, [5])
    ack(5, site)
    ack(3, site)
    assert Stream.objects.using(site).get().acked_seq == 5


def test_a_format_of_another_version_is_named(site: str) -> None:
    grow(site, [1])
    Batch.objects.using(site).update(version=99)
    with pytest.raises(SockstreamError, match="stored format 99"):
        list(store.read(1, site, 1))


@pytest.mark.parametrize(
    ("column", "damage"),
    [
        ("segments", lambda value: value[:-1]),
        ("segments", lambda value: value[:8]),
        ("segments", lambda value: b""),
        ("segments", lambda value: value[:3] + b"\x09" + value[4:]),
        ("open", lambda value: not value),
        ("cut", lambda value: not value),
        ("last_seq", lambda value: value + 100),
    ],
)
def test_a_damaged_batch_is_named_and_what_is_before_it_is_read(
    column: str, damage: Callable[[Any], Any], site: str
) -> None:
    grow(site, [2], [2, 1], [2])
    row = Batch.objects.using(site).get(first_seq=3)
    value = getattr(row, column)
    value = damage(value if isinstance(value, int) else bytes(value))
    Batch.objects.using(site).filter(first_seq=3).update(**{column: value})
    reading = store.read(1, site, 10)
    assert next(reading).first_seq == 1
    with pytest.raises(
        WireError, match=r"The records 3 to \d+ are not what was numbered"
    ) as raised:
        next(reading)
    assert (raised.value.code, raised.value.seq) == ("digest-mismatch", 3)
    with pytest.raises(WireError):
        store.digest_at(4, site)


def test_what_an_older_version_stored_is_read(site: str) -> None:
    grow(site, [2, 1])
    [batch] = store.read(1, site, 1)
    row = Batch.objects.using(site).get()
    Batch.objects.using(site).update(version=1, segments=bytes(row.segments)[:-8])
    assert list(store.read(1, site, 1)) == [batch]
    Batch.objects.using(site).update(segments=bytes(row.segments)[:-9])
    with pytest.raises(WireError, match="The records 1 to 3"):
        list(store.read(1, site, 1))


def test_a_stream_that_stands_elsewhere_is_found(site: str) -> None:
    store.require_whole(site)
    grow(site, [2], [2])
    store.require_whole(site)
    Stream.objects.using(site).update(digest=bytes(16))
    with pytest.raises(SockstreamError, match="does not stand where its oplog ends, at record 4"):
        store.require_whole(site)


def test_a_last_batch_that_is_damaged_is_left_to_the_sending(site: str) -> None:
    """What is before it is sent all the same, and what is captured is numbered."""
    grow(site, [2], [2])
    Batch.objects.using(site).filter(first_seq=3).update(digest_after=bytes(16))
    store.require_whole(site)


def test_the_backlog_counts_what_is_not_acked(site: str) -> None:
    grow(site, [5])
    assert store.backlog(site) == (0, 5)
    ack(3, site)
    assert store.backlog(site) == (0, 2)


def test_an_error_stays_in_the_state_until_the_next_connection(site: str) -> None:
    store.stream(site)
    store.note_state(site, "waiting", error=SockstreamError("unreachable", "No answer", "Wait"))
    store.note_state(site, "connecting")
    row = store.stream(site)
    assert (row.state, row.error_code, row.error) == (
        "connecting",
        "unreachable",
        "No answer. Wait.",
    )
    store.note_state(site, "connected", peer="central")
    row = store.stream(site)
    assert (row.peer, row.error_code, row.error) == ("central", "", "")
