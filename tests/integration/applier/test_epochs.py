"""A new epoch that central has only heard of changes nothing; its first commit does."""

from __future__ import annotations

import pytest

from sockstream.receiver.applying.applier import Applier, Fenced
from sockstream.receiver.models import Offset, Parked
from sockstream.receiver.streams import offsets, registry
from sockstream.receiver.streams.names import Name
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError
from tests.integration.applier.feed import EPOCH, Feed
from tests.zoo.models import Parameter

FORK, FURTHER, THIRD = b"f" * 16, b"g" * 16, b"h" * 16


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def position(using: str) -> tuple[bytes, int, bytes, bytes]:
    row = offset(using)
    return bytes(row.epoch), row.seq, bytes(row.digest), bytes(row.pending_epoch)


@pytest.fixture
def original(central: str) -> Feed:
    """A stream of three records that central has applied."""
    feed = Feed()
    rows = [Parameter(name=name) for name in "abc"]
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows).batch()])
    return feed


def heard(using: str, epoch: bytes = FORK, parent: bytes = EPOCH) -> Applier:
    """The stream is opened in a new epoch; nothing of it has come."""
    return Feed().applier(using, epoch=epoch, parent_epoch=parent)


def test_a_fork_that_is_heard_of_moves_nothing(central: str, original: Feed) -> None:
    before = position(central)
    opened = Feed().opened(central, epoch=FORK, parent_epoch=EPOCH)
    assert (opened.epoch, opened.offset, opened.digest) == (FORK, 0, ZERO)
    assert position(central) == (*before[:3], FORK)


def test_the_original_goes_on_after_a_fork_was_heard_of(central: str, original: Feed) -> None:
    heard(central)
    opened = original.opened(central, lowest_seq=3, acked_seq=3)
    assert (opened.offset, opened.warning) == (3, None)
    assert position(central) == (EPOCH, 3, original.digest, b"")
    applier = Applier("site-a", "default", opened.fence, using=central)
    original.insert(Parameter(name="d"))
    assert applier.apply([original.batch()]).offset == 4


@pytest.mark.parametrize("length", [1, 3, 4])
def test_a_twin_with_another_history_replaces_nothing(
    length: int, central: str, original: Feed
) -> None:
    heard(central)
    twin = Feed()
    twin.insert(*(Parameter(name=f"twin {n}") for n in range(length))).batch()
    if length > 3:
        # Central cannot see its digest at 3, so the welcome gives it to the twin, which stops.
        assert twin.opened(central).digest == original.digest
    else:
        with pytest.raises(WireError) as refused:
            twin.opened(central)
        assert refused.value.code in ("sender-rewound", "history-diverged")
    assert position(central)[:3] == (EPOCH, 3, original.digest)


def test_the_first_commit_of_a_fork_makes_it_the_stream_s(central: str, original: Feed) -> None:
    applier, fork = heard(central), Feed()
    done = applier.apply([fork.insert(Parameter(name="of the fork")).batch()])
    assert done.offset == 1
    assert position(central) == (FORK, 1, fork.digest, b"")
    with pytest.raises(WireError) as refused:
        original.opened(central)
    assert refused.value.code == "epoch-unknown"


def test_a_group_that_does_not_end_makes_it_nobody_s(central: str, original: Feed) -> None:
    before, applier, fork = position(central), heard(central), Feed()
    applier.apply([fork.insert(Parameter(name="half")).batch(open=True)])
    assert position(central) == (*before[:3], FORK)


def test_a_repeat_of_a_fork_s_group_is_skipped(central: str, original: Feed) -> None:
    applier, fork = heard(central), Feed()
    batch = fork.insert(Parameter(name="once")).batch()
    applier.apply([batch])
    assert applier.apply([batch]).offset == 1
    assert Parameter.objects.using(central).filter(name="once").count() == 1


def test_a_fork_of_a_fork_of_which_nothing_came(central: str, original: Feed) -> None:
    heard(central)
    opened = Feed().opened(central, epoch=FURTHER, parent_epoch=FORK)
    assert opened.offset == 0
    assert position(central) == (EPOCH, 3, original.digest, FURTHER)


def test_the_welcome_of_a_fork_s_fork_was_lost(central: str, original: Feed) -> None:
    """The site goes on from the last epoch of which it knows that central heard."""
    heard(central)
    heard(central, FURTHER, FORK)
    for again in (FURTHER, THIRD, b"i" * 16):
        heard(central, again, FORK)
    with pytest.raises(WireError, match=r"epoch [0-9a-f]{8}"):
        heard(central, b"j" * 16, FURTHER)
    opened = Feed().opened(central, epoch=b"j" * 16, parent_epoch=b"i" * 16)
    assert opened.offset == 0
    original.opened(central, lowest_seq=3, acked_seq=3)
    with pytest.raises(WireError, match=r"epoch [0-9a-f]{8}"):
        heard(central, THIRD, FORK)


def test_an_epoch_that_nobody_continues_is_unknown(central: str, original: Feed) -> None:
    heard(central)
    for parent in (b"", FURTHER):
        with pytest.raises(WireError) as refused:
            Feed().opened(central, epoch=THIRD, parent_epoch=parent)
        assert refused.value.code == "epoch-unknown"


def test_an_empty_history_is_one_too(central: str) -> None:
    """The first commit, and not its number, tells that something is known of an epoch."""
    first, second = Feed(), Feed()
    first.opened(central)
    applier = second.applier(central, epoch=FORK)
    with pytest.raises(Fenced):
        Applier("site-a", "default", 7, using=central).apply(
            [first.insert(Parameter(name="x")).batch()]
        )
    applier.apply([second.insert(Parameter(name="y")).batch()])
    assert position(central) == (FORK, 1, second.digest, b"")


def test_what_a_fork_parks_is_of_its_epoch(central: str, original: Feed, parks: None) -> None:
    applier, fork = heard(central), Feed()
    fork.insert(Parameter(name="x" * 300)).batch()
    applier.apply(fork.sent)
    found = [row.epoch for row in Parked.objects.using(central).all()]
    assert found in ([], [FORK.hex()])
    assert bytes(offset(central).epoch) == FORK


@pytest.mark.parametrize("number", [(1 << 32) + 2, (1 << 53) - 1, (1 << 62)])
def test_a_session_far_above_ours_is_not_stored(number: int, central: str, original: Feed) -> None:
    offsets.confirm(original.opened(central), using=central)
    with pytest.raises(WireError) as refused:
        original.opened(central, last_session=number)
    assert refused.value.code == "bad-message"
    assert original.opened(central).session == 2


def test_a_stream_that_was_given_an_absurd_number_is_mended(central: str, original: Feed) -> None:
    """As an earlier version stored it, which no hello got past."""
    Offset.objects.using(central).update(session=(1 << 63) - 2)
    opened = original.opened(central, last_session=7)
    assert opened.session == 8
    offsets.confirm(opened, using=central)
    assert original.opened(central, last_session=8).session == 9


def test_adopting_forgets_the_session(central: str, original: Feed) -> None:
    offsets.confirm(original.opened(central, last_session=1 << 31), using=central)
    registry.adopt(Name("site-a", "default"), using=central)
    assert position(central) == (b"", 0, ZERO, b"")
    assert Feed().opened(central, epoch=FORK).session == 1
