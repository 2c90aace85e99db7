"""Opening a stream: sessions, fences, refusals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from sockstream.receiver.applying.applier import Fenced
from sockstream.receiver.models import Offset, Source, State
from sockstream.receiver.streams import offsets
from sockstream.tls import Peer
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError
from tests.integration.applier.feed import EPOCH, Feed
from tests.zoo.models import Parameter


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def test_a_source_is_made_at_first_sight(central: str) -> None:
    opened = Feed().opened(central)
    assert (opened.source, opened.stream, opened.session) == ("site-a", "default", 1)
    assert (opened.offset, opened.digest, opened.epoch) == (0, ZERO, EPOCH)
    source = Source.objects.using(central).get()
    assert (source.name, source.disabled) == ("site-a", False)
    row = offset(central)
    assert (bytes(row.epoch), bytes(row.pending_epoch)) == (b"", EPOCH)


def test_a_session_has_its_number_until_it_is_confirmed(central: str) -> None:
    feed = Feed()
    first, again = feed.opened(central), feed.opened(central)
    assert (first.session, again.session) == (1, 1)
    assert first.fence != again.fence
    with pytest.raises(Fenced):
        offsets.confirm(first, using=central)
    offsets.confirm(again, using=central)
    assert offset(central).state == State.CONNECTED
    assert feed.opened(central).session == 2


def test_a_link_that_ended_leaves_its_stream_idle(central: str) -> None:
    feed = Feed()
    opened = feed.opened(central)
    offsets.confirm(opened, using=central)
    offsets.leave(opened, using=central)
    assert offset(central).state == State.IDLE
    offsets.leave(opened, using=central)


def test_leaving_changes_nothing_of_a_newer_session(central: str) -> None:
    feed = Feed()
    old = feed.opened(central)
    offsets.confirm(feed.opened(central), using=central)
    offsets.leave(old, using=central)
    assert offset(central).state == State.CONNECTED


def test_streams_of_one_source_are_apart(central: str) -> None:
    feed = Feed()
    feed.opened(central)
    feed.opened(central, stream="other")
    assert Offset.objects.using(central).count() == 2
    assert Source.objects.using(central).count() == 1


def test_a_disabled_source_is_refused(central: str) -> None:
    feed = Feed()
    feed.opened(central)
    Source.objects.using(central).update(disabled=True)
    with pytest.raises(WireError) as refused:
        feed.opened(central)
    assert refused.value.code == "source-disabled"
    assert offset(central).error_code == "source-disabled"
    Source.objects.using(central).update(disabled=False)
    offsets.confirm(feed.opened(central), using=central)
    assert (offset(central).state, offset(central).error_code) == (State.CONNECTED, "")


def test_what_is_lost_is_not_taken_for_new(central: str) -> None:
    with pytest.raises(WireError) as refused:
        Feed().opened(central, lowest_seq=100, highest_seq=200)
    assert refused.value.code == "unknown-source"
    row = offset(central)
    assert (row.state, row.error_code, row.session) == (State.STOPPED, "unknown-source", 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"epoch": bytes(16)}, "epoch-unknown"),
        ({"highest_seq": 1}, "sender-rewound"),
        ({"digest": bytes(16)}, "history-diverged"),
        ({"lowest_seq": 9, "highest_seq": 20}, "gap"),
    ],
)
def test_histories_that_do_not_fit(changes: dict[str, Any], code: str, central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Parameter(name="1"), Parameter(name="2")).batch()])
    before = offset(central)
    with pytest.raises(WireError) as refused:
        feed.opened(central, **changes)
    assert refused.value.code == code
    after = offset(central)
    assert (after.seq, after.fence, after.session) == (before.seq, before.fence, before.session)
    assert after.error_code == code


def test_an_epoch_without_records_is_not_held_against_the_site(central: str) -> None:
    feed = Feed()
    feed.opened(central)
    assert feed.opened(central, epoch=b"n" * 16).epoch == b"n" * 16


def test_central_was_restored(central: str) -> None:
    opened = Feed().opened(central, highest_seq=9, acked_seq=5)
    assert opened.warning is not None
    assert opened.warning.code == "receiver-rewound"


def test_two_processes_that_take_turns(central: str) -> None:
    feed = Feed()
    names = [b"one", b"two"] * 2
    for name in names:
        feed.opened(central, instance=name)
    with pytest.raises(WireError) as refused:
        feed.opened(central, instance=b"one")
    assert refused.value.code == "clone-suspected"
    with pytest.raises(WireError):
        feed.opened(central, instance=b"two")
    feed.opened(central, instance=b"restarted")
    Offset.objects.using(central).update(flips_since=timezone.now() - timedelta(minutes=11))
    feed.opened(central, instance=b"two")


def test_restarts_are_no_clones(central: str) -> None:
    feed = Feed()
    for number in range(20):
        feed.opened(central, instance=bytes([number]))
    feed.opened(central, instance=bytes([19]))


def test_touch(central: str) -> None:
    Feed().opened(central)
    ends = timezone.now()
    peer = Peer("site-a", 255, ends, b"\xab")
    offsets.touch("site-a", peer, address="1.2.3.4:5", using=central)
    source = Source.objects.using(central).get()
    assert (source.serial, source.fingerprint, source.address) == ("ff", "ab", "1.2.3.4:5")
    assert source.not_after == ends
