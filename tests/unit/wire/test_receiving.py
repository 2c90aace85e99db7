from __future__ import annotations

from dataclasses import replace

import pytest

from sockstream.wire.digest import ZERO
from sockstream.wire.errors import Class, WireError
from sockstream.wire.frames import FrameReader
from sockstream.wire.limits import Limits
from sockstream.wire.messages import (
    Ack,
    Bye,
    Confirm,
    Error,
    Message,
    Ping,
    Pong,
    Progress,
    Records,
    Refuse,
    Welcome,
    pack,
    unpack,
)
from sockstream.wire.receiving import (
    BatchReceived,
    Confirmed,
    Event,
    Failed,
    HelloReceived,
    PeerClosing,
    ReceivingSession,
)
from sockstream.wire.records import Batch, digest_at

from .samples import DIGEST, batch, chain, hello, welcome

WINDOW = 1 << 20


def sent(session: ReceivingSession) -> list[Message]:
    return [unpack(body) for body in FrameReader(1 << 30).feed(session.data_to_send())]


def say(session: ReceivingSession, *messages: Message) -> list[Event]:
    return session.receive(b"".join(map(pack, messages)), 0)


def deliver(session: ReceivingSession, *batches: Batch) -> list[Event]:
    return say(session, *map(Records, batches))


def welcomed(answer: Welcome | None = None) -> ReceivingSession:
    session = ReceivingSession(Limits(), 0)
    say(session, hello())
    session.welcome(answer or welcome(), 0)
    session.data_to_send()
    return session


def streaming(answer: Welcome | None = None) -> ReceivingSession:
    """A session whose handshake is over."""
    answer = answer or welcome()
    session = welcomed(answer)
    say(session, Confirm(answer.session, answer.offset + 1, answer.digest))
    return session


def broken(events: list[Event]) -> str:
    [event] = events
    assert isinstance(event, Failed)
    return event.error.code


def test_the_handshake() -> None:
    session = ReceivingSession(Limits(), 0)
    assert say(session, hello()) == [HelloReceived(hello())]
    session.welcome(welcome(session=4), 0)
    assert sent(session) == [welcome(session=4)]
    assert say(session, Confirm(4, 1, ZERO)) == [Confirmed(Confirm(4, 1, ZERO))]


def test_a_refusal_closes_it() -> None:
    session = ReceivingSession(Limits(), 0)
    say(session, hello())
    session.refuse(WireError("source-disabled", "Words", "Mend"), 0)
    assert sent(session) == [Refuse("source-disabled", "Words", "Mend", 0, class_="person")]
    assert session.closed
    session.welcome(welcome(), 0)
    session.refuse(WireError("auth-revoked", "Words"), 0)
    assert sent(session) == []


def test_a_site_may_be_refused_before_it_says_anything() -> None:
    session = ReceivingSession(Limits(), 0)
    session.refuse(WireError("auth-revoked", "Words"), 0)
    assert isinstance(sent(session)[0], Refuse)


def test_a_late_refusal_is_an_error() -> None:
    session = streaming()
    session.refuse(WireError("auth-revoked", "Words"), 0)
    assert isinstance(sent(session)[0], Error)
    assert session.closed


def test_nobody_is_welcome_before_hello() -> None:
    with pytest.raises(ValueError, match="nobody to welcome"):
        ReceivingSession(Limits(), 0).welcome(welcome(), 0)


@pytest.mark.parametrize(
    ("confirm", "code"),
    [
        (Confirm(2, 1, ZERO), "bad-message"),
        (Confirm(1, 2, ZERO), "bad-message"),
        (Confirm(1, 1, DIGEST), "history-diverged"),
    ],
)
def test_a_confirm_has_to_fit_the_welcome(confirm: Confirm, code: str) -> None:
    assert broken(say(welcomed(), confirm)) == code


def test_nothing_is_taken_before_the_confirm() -> None:
    assert broken(deliver(welcomed(), batch())) == "bad-state"


def test_until_the_welcome_a_frame_is_small() -> None:
    session = ReceivingSession(Limits(), 0)
    assert broken(session.receive((65 << 10).to_bytes(4), 0)) == "frame-too-large"
    session = streaming()
    assert session.receive((65 << 10).to_bytes(4), 0) == []
    assert broken(streaming().receive((2 << 20).to_bytes(4), 0)) == "frame-too-large"


def test_batches_are_handed_over_in_order() -> None:
    session, batches = streaming(), chain(1, 2, 3)
    assert deliver(session, *batches) == [BatchReceived(each, each.size) for each in batches]
    assert sent(session) == []


def test_an_ack_is_sent_when_something_was_applied() -> None:
    session, [made] = streaming(), chain(2)
    deliver(session, made)
    session.applied(2, made.digest_after, 0)
    assert sent(session) == [Ack(2, made.digest_after, WINDOW)]
    session.consumed(made.size, 0)
    assert sent(session) == [Ack(2, made.digest_after, WINDOW + made.size)]


def test_what_never_came_cannot_be_acked_or_consumed() -> None:
    session, [made] = streaming(), chain(2)
    deliver(session, made)
    with pytest.raises(ValueError, match="is not between"):
        session.applied(3, DIGEST, 0)
    session.applied(2, made.digest_after, 0)
    with pytest.raises(ValueError, match="is not between"):
        session.applied(1, DIGEST, 0)
    with pytest.raises(ValueError, match="were consumed"):
        session.consumed(made.size + 1, 0)


def test_credit_is_told_when_a_quarter_of_the_window_is_free() -> None:
    batches = chain(*[1] * 20, text="x" * 100)
    size = batches[0].size
    session = streaming(welcome(window=10 * size))
    deliver(session, *batches[:10])
    assert session.paused
    session.consumed(2 * size, 0)
    assert not session.paused
    assert sent(session) == []
    session.consumed(size, 0)
    assert sent(session) == [Ack(0, ZERO, 13 * size)]
    session.consumed(7 * size, 0)
    assert sent(session) == [Ack(0, ZERO, 20 * size)]


def test_more_than_was_granted_breaks_the_session() -> None:
    one, two = chain(1, 1)
    session = streaming(welcome(window=one.size + two.size - 1))
    first, second = deliver(session, one, two)
    assert isinstance(first, BatchReceived)
    assert isinstance(second, Failed)
    assert second.error.code == "window-exceeded"


def test_a_batch_larger_than_the_window_may_come_alone() -> None:
    one, two = chain(1, 1)
    session = streaming(welcome(window=1))
    [event] = deliver(session, one)
    assert isinstance(event, BatchReceived)
    session.consumed(one.size, 0)
    assert sent(session) == [Ack(0, ZERO, 1 + one.size)]
    assert isinstance(deliver(session, two)[0], BatchReceived)


def test_a_gap_is_told_and_nothing_is_handed_over() -> None:
    one, _, three = chain(1, 1, 1)
    session = streaming()
    deliver(session, one)
    [event] = deliver(session, three)
    assert isinstance(event, Failed)
    error = event.error
    assert (error.code, error.class_, error.seq) == ("gap", Class.RECONNECT, 2)
    [told] = sent(session)
    assert isinstance(told, Error)
    assert (told.code, told.seq) == ("gap", 2)


def test_a_repeated_batch_is_acked_again_and_touches_nothing() -> None:
    one, two = chain(1, 1)
    session = streaming()
    deliver(session, one)
    session.consumed(one.size, 0)
    session.applied(1, one.digest_after, 0)
    session.data_to_send()
    assert deliver(session, one, one) == []
    assert sent(session) == [Ack(1, one.digest_after, WINDOW + one.size)] * 2
    assert deliver(session, two) == [BatchReceived(two, two.size)]


def test_what_was_applied_in_an_older_session_is_acked_again() -> None:
    one, two = chain(1, 1)
    session = streaming(welcome(offset=1, digest=one.digest_after))
    assert deliver(session, one) == []
    assert sent(session) == [Ack(1, one.digest_after, WINDOW)]
    assert deliver(session, two) == [BatchReceived(two, two.size)]


def test_the_first_batch_may_overlap() -> None:
    made = batch(1, (2, 3))
    inside = digest_at(made, 2)
    assert inside is not None
    session = streaming(welcome(offset=2, digest=inside))
    assert deliver(session, made) == [BatchReceived(made, made.size)]


@pytest.mark.parametrize("offset", [2, 3])
def test_the_history_of_an_overlap_is_compared_by_whoever_applies_it(offset: int) -> None:
    """It lies inside of the batch, which may have to be decompressed for it."""
    made = batch(1, (2, 3))
    session = streaming(welcome(offset=offset, digest=DIGEST))
    assert deliver(session, made) == [BatchReceived(made, made.size)]


def test_only_the_first_batch_may_overlap() -> None:
    session = streaming(welcome(offset=0))
    deliver(session, batch(1, (2,)))
    assert broken(deliver(session, batch(2, (2,)))) == "digest-mismatch"


@pytest.mark.parametrize("times", [1, 40])
def test_a_repeat_is_answered_without_a_look_at_its_records(times: int) -> None:
    """Neither decompressed nor hashed: these records are none at all."""
    session = streaming()
    [one] = chain(3)
    deliver(session, one)
    session.consumed(one.size, 0)
    session.applied(3, one.digest_after, 0)
    sent(session)
    broken_ = replace(one, data=b"no zlib", codec="zlib")
    for _ in range(times):
        assert session.receive(pack(Records(broken_)), 0) == []
    answers = [answer for answer in sent(session) if isinstance(answer, Ack)]
    assert [answer.offset for answer in answers] == [3] * times


def test_the_digests_have_to_chain() -> None:
    one, two = chain(1, 1)
    session = streaming()
    deliver(session, one)
    assert broken(deliver(session, replace(two, digest_before=DIGEST))) == "digest-mismatch"


def test_the_chain_begins_at_the_offset() -> None:
    session = streaming(welcome(offset=1, digest=DIGEST))
    assert broken(deliver(session, chain(1, 1)[1])) == "digest-mismatch"


def test_progress_and_errors_are_told() -> None:
    session = streaming()
    session.progress(500, 499, 0)
    session.progress(500, 499, 0, trouble=WireError("disk-full", "Words"))
    session.stop(WireError("record-refused", "Words", "Mend", 9, model="a.b", key="k"), 0)
    assert sent(session) == [
        Progress(500, 499),
        Progress(500, 499, "disk-full", "Words"),
        Error("record-refused", "Words", "Mend", 9, "a.b", "k", "person"),
    ]
    assert session.closed


def test_what_comes_of_the_batches_after_the_end_is_not_sent() -> None:
    session, [made] = streaming(), chain(2)
    deliver(session, made)
    session.receive_eof(0)
    session.progress(1, 1, 0)
    session.consumed(made.size, 0)
    session.applied(2, made.digest_after, 0)
    session.stop(WireError("fenced", "Words"), 0)
    session.bye("late", 2, 0, 0)
    assert sent(session) == []


def test_a_leaving_site_still_gets_its_acks() -> None:
    session, batches = streaming(), chain(1, 1)
    deliver(session, *batches)
    assert say(session, Bye("done", 2, 0.0)) == [PeerClosing(Bye("done", 2, 0.0))]
    session.applied(1, batches[0].digest_after, 0)
    assert not session.closed
    session.applied(2, batches[1].digest_after, 0)
    assert session.closed
    assert [type(message) for message in sent(session)] == [Ack, Ack, Bye]


def test_a_leaving_site_is_not_waited_for_with_half_a_group() -> None:
    session = streaming()
    made = batch(1, (2, 3), open_=True)
    deliver(session, made)
    say(session, Bye("done", 5, 0.0))
    assert not session.closed
    inside = digest_at(made, 2)
    assert inside is not None
    session.applied(2, inside, 0)
    assert session.closed
    assert sent(session)[-1] == Bye("goodbye", 2, 0.0)


def test_after_its_bye_a_site_sends_nothing() -> None:
    session, batches = streaming(), chain(1, 1)
    deliver(session, batches[0])
    say(session, Bye("done", 1, 0.0))
    assert broken(deliver(session, batches[1])) == "bad-state"


def test_a_leaving_central_drops_what_it_will_not_apply() -> None:
    session, batches = streaming(), chain(1, 1)
    deliver(session, batches[0])
    session.bye("restart", 1, 2.5, 0)
    assert sent(session) == [Bye("restart", 1, 2.5)]
    assert deliver(session, batches[1]) == []
    assert say(session, Ping(1), Bye("goodbye", 2, 0.0)) == [PeerClosing(Bye("goodbye", 2, 0.0))]
    assert not session.closed
    session.applied(1, batches[0].digest_after, 0)
    assert session.closed
    assert sent(session) == [Pong(1), Ack(1, batches[0].digest_after, WINDOW)]


def test_a_leaving_central_with_nothing_to_apply_waits_for_the_goodbye() -> None:
    session = streaming()
    session.bye("restart", 0, 2.5, 0)
    assert not session.closed
    say(session, Bye("goodbye", 0, 0.0))
    assert session.closed


def test_both_may_leave_at_once() -> None:
    session, [made] = streaming(), chain(1)
    deliver(session, made)
    say(session, Bye("done", 1, 0.0))
    session.bye("restart", 1, 2.5, 0)
    assert not session.closed
    session.applied(1, made.digest_after, 0)
    assert session.closed


def test_a_confirm_that_crosses_the_bye_is_ignored() -> None:
    session = welcomed()
    session.bye("restart", 0, 2.5, 0)
    assert say(session, Confirm(1, 1, ZERO), Records(batch())) == []
    assert not session.closed


@pytest.mark.parametrize("said_hello", [False, True])
def test_a_central_that_leaves_before_the_welcome_says_it_is_busy(said_hello: bool) -> None:
    session = ReceivingSession(Limits(), 0)
    if said_hello:
        say(session, hello())
    session.bye("restart", 0, 2.5, 0)
    [refusal] = sent(session)
    assert isinstance(refusal, Refuse)
    assert refusal.error.class_ is Class.RETRY


def test_a_site_that_leaves_before_the_welcome_is_let_go() -> None:
    session = ReceivingSession(Limits(), 0)
    say(session, hello())
    say(session, Bye("done", 0, 0.0))
    assert session.closed
    session.welcome(welcome(), 0)
    assert sent(session) == [Bye("goodbye", 0, 0.0)]


def staged(last_seq: int, digest: bytes) -> Welcome:
    return welcome(staged_seq=last_seq, staged_digest=digest)


def test_a_site_goes_on_after_what_is_staged() -> None:
    first, second = chain(2, 3)
    session = welcomed(staged(2, first.digest_after))
    confirm = Confirm(1, 3, first.digest_after)
    assert say(session, confirm) == [Confirmed(confirm)]
    assert deliver(session, second) == [BatchReceived(second, second.size)]
    session.consumed(second.size, 0)
    session.applied(5, second.digest_after, 0)
    assert [(ack.offset, ack.credit) for ack in sent(session) if isinstance(ack, Ack)][-1] == (
        5,
        WINDOW + second.size,
    )


def test_a_site_need_not_heed_what_is_staged() -> None:
    first, second = chain(2, 3)
    session = streaming(staged(2, first.digest_after))
    assert deliver(session, first, second) == [
        BatchReceived(first, first.size),
        BatchReceived(second, second.size),
    ]


@pytest.mark.parametrize(
    ("first_seq", "digest", "code"),
    [(3, DIGEST, "history-diverged"), (2, ZERO, "bad-message"), (4, DIGEST, "bad-message")],
)
def test_a_site_that_resumes_elsewhere(first_seq: int, digest: bytes, code: str) -> None:
    session = welcomed(staged(2, chain(2)[0].digest_after))
    assert broken(say(session, Confirm(1, first_seq, digest))) == code


def test_what_comes_after_the_staged_records_has_to_continue_them() -> None:
    first, _ = chain(2, 3)
    session = welcomed(staged(2, first.digest_after))
    say(session, Confirm(1, 3, first.digest_after))
    assert broken(deliver(session, batch(3, (1,), digest=DIGEST))) == "digest-mismatch"
