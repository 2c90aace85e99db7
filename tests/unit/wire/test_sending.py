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
    Hello,
    Message,
    Progress,
    Records,
    Refuse,
    Welcome,
    pack,
    unpack,
)
from sockstream.wire.records import digest_at
from sockstream.wire.sending import (
    Acked,
    Event,
    Failed,
    PeerClosing,
    Progressed,
    Refused,
    SendingSession,
    Welcomed,
)

from .samples import DIGEST, batch, chain, hello, welcome


def sent(session: SendingSession) -> list[Message]:
    return [unpack(body) for body in FrameReader(1 << 30).feed(session.data_to_send())]


def say(session: SendingSession, *messages: Message) -> list[Event]:
    return session.receive(b"".join(map(pack, messages)), 0)


def streaming(answer: Welcome | None = None) -> SendingSession:
    """A session whose handshake is over."""
    session = SendingSession(hello(), Limits(), 0)
    answer = answer or welcome()
    say(session, answer)
    session.confirm(answer.offset + 1, answer.digest, 0)
    session.data_to_send()
    return session


def broken(events: list[Event]) -> str:
    [event] = events
    assert isinstance(event, Failed)
    return event.error.code


def test_it_opens_with_hello_and_confirms_a_welcome() -> None:
    session = SendingSession(hello(), Limits(), 0)
    assert sent(session) == [hello()]
    assert say(session, welcome(session=4)) == [Welcomed(welcome(session=4))]
    assert not session.can_send(1)
    session.confirm(1, ZERO, 0)
    assert sent(session) == [Confirm(4, 1, ZERO)]
    assert session.can_send(1)


def test_it_begins_at_the_offset() -> None:
    session = streaming(welcome(offset=7, digest=DIGEST))
    assert (session.acked, session.sent_seq, session.in_flight) == (7, 7, 0)


def test_a_refusal_closes_it() -> None:
    session = SendingSession(hello(), Limits(), 0)
    error = WireError("epoch-unknown", "Words")
    [event] = say(session, Refuse.of(error))
    assert isinstance(event, Refused)
    assert (event.error.code, event.error.words) == ("epoch-unknown", "Words")
    assert session.closed


def test_nothing_is_confirmed_before_the_welcome() -> None:
    session = SendingSession(hello(), Limits(), 0)
    with pytest.raises(ValueError, match="nothing to confirm"):
        session.confirm(1, ZERO, 0)


def test_it_tells_central_why_it_does_not_go_on() -> None:
    session = SendingSession(hello(), Limits(), 0)
    say(session, welcome())
    session.data_to_send()
    session.fail(WireError("history-diverged", "Words"), 0)
    [error] = sent(session)
    assert isinstance(error, Error)
    assert error.code == "history-diverged"
    assert session.closed
    session.confirm(1, ZERO, 0)
    assert sent(session) == []


def test_batches_flow_without_waiting_for_acks() -> None:
    session, batches = streaming(), chain(1, 2, 3)
    for each in batches:
        assert session.can_send(each.size)
        session.send(each, 0)
    assert sent(session) == [Records(each) for each in batches]
    assert session.in_flight == sum(each.size for each in batches)
    assert (session.sent_seq, session.acked) == (6, 0)


def test_an_ack_is_for_every_number_up_to_it() -> None:
    session, batches = streaming(), chain(1, 2, 3)
    for each in batches:
        session.send(each, 0)
    credit = (1 << 20) + batches[0].size + batches[1].size
    ack = Ack(3, batches[1].digest_after, credit)
    assert say(session, ack) == [Acked(3, batches[1].digest_after)]
    assert session.acked == 3
    assert session.in_flight == batches[2].size


def test_credit_is_kept_and_comes_back_with_acks() -> None:
    first, second = chain(1, 1, text="x" * 100)
    session = streaming(welcome(window=first.size + second.size - 1))
    session.send(first, 0)
    assert not session.can_send(second.size)
    assert session.can_send(second.size - 1)
    with pytest.raises(ValueError, match="may not be sent now"):
        session.send(second, 0)
    say(session, Ack(0, ZERO, first.size + second.size))
    assert session.can_send(second.size)
    session.send(second, 0)


def test_a_batch_larger_than_the_window_waits_until_nothing_is_in_flight() -> None:
    first, second = chain(1, 1, text="x" * 100)
    session = streaming(welcome(window=first.size - 1))
    assert session.can_send(first.size)
    session.send(first, 0)
    assert not session.can_send(1)
    say(session, Ack(1, first.digest_after, 2 * first.size - 1))
    assert session.can_send(second.size)


def test_the_first_batch_may_begin_before_the_offset() -> None:
    made = batch(1, (2, 3))
    inside = digest_at(made, 2)
    assert inside is not None
    session = streaming(welcome(offset=2, digest=inside))
    session.send(made, 0)
    assert sent(session) == [Records(made)]


def test_what_does_not_continue_the_stream_is_not_sent() -> None:
    first, second, third = chain(1, 1, 1)
    session = streaming()
    with pytest.raises(WireError, match="where 1 was to be sent") as caught:
        session.send(second, 0)
    assert (caught.value.code, caught.value.class_) == ("gap", Class.PERSON)
    session.send(first, 0)
    for wrong in (first, third):
        with pytest.raises(WireError) as caught:
            session.send(wrong, 0)
        assert caught.value.code == "gap"
    with pytest.raises(WireError) as caught:
        session.send(replace(second, digest_before=DIGEST), 0)
    assert caught.value.code == "digest-mismatch"
    session.send(second, 0)


def test_a_batch_of_another_history_is_not_sent() -> None:
    made = batch(1, (2, 3))
    session = streaming(welcome(offset=2, digest=DIGEST))
    with pytest.raises(WireError) as caught:
        session.send(made, 0)
    assert caught.value.code == "digest-mismatch"


def test_a_batch_that_no_frame_holds_is_not_sent() -> None:
    session = streaming(welcome(frame_limit=1000))
    with pytest.raises(WireError) as caught:
        session.send(batch(text="x" * 1000), 0)
    assert caught.value.code == "record-too-large"
    assert not session.closed
    assert sent(session) == []


def test_it_compresses_if_central_chose_that() -> None:
    session = streaming(welcome(codec="zlib"))
    made = batch(1, (100,))
    session.send(made, 0)
    data = session.data_to_send()
    assert len(data) < made.size
    found = unpack(data[4:])
    assert isinstance(found, Records)
    assert (found.codec, found.batch.raw(), found.batch.size) == ("zlib", made.data, made.size)
    assert session.in_flight == made.size


def test_a_codec_that_was_not_offered_is_refused() -> None:
    session = SendingSession(hello(codecs=()), Limits(), 0)
    assert broken(say(session, welcome(codec="zlib"))) == "bad-message"


@pytest.mark.parametrize(
    ("ack", "code"),
    [
        (Ack(4, DIGEST, 1 << 20), "bad-message"),  # never sent
        (Ack(3, DIGEST, 1 << 20), "digest-mismatch"),
        (Ack(0, DIGEST, 1 << 20), "digest-mismatch"),
        (Ack(0, ZERO, 1 << 40), "bad-message"),  # more than was taken
    ],
)
def test_an_ack_that_cannot_be_breaks_the_session(ack: Ack, code: str) -> None:
    session = streaming()
    for each in chain(1, 2):
        session.send(each, 0)
    assert broken(say(session, ack)) == code
    assert session.closed


def test_an_ack_that_was_overtaken_changes_nothing() -> None:
    session = streaming()
    one, two = chain(1, 1)
    session.send(one, 0)
    session.send(two, 0)
    newest = Ack(2, two.digest_after, (1 << 20) + one.size)
    say(session, newest)
    assert say(session, Ack(1, one.digest_after, 1 << 20), newest) == []
    assert session.acked == 2


def test_progress_is_told() -> None:
    assert say(streaming(), Progress(500, 499)) == [Progressed(500, 499)]


def test_a_refusal_of_central_s_database_is_told() -> None:
    [event] = say(streaming(), Progress(500, 0, "db-readonly", "Words"))
    assert isinstance(event, Progressed)
    assert event.trouble is not None
    assert (event.trouble.code, event.trouble.words) == ("db-readonly", "Words")
    assert event.trouble.class_ is Class.RETRY


def test_bye_drains() -> None:
    session = streaming()
    [made] = chain(2)
    session.send(made, 0)
    session.bye("stopping", 0)
    assert sent(session) == [Records(made), Bye("stopping", 2, 0.0)]
    assert not session.can_send(1)
    assert not session.closed
    say(session, Ack(2, made.digest_after, 1 << 20))
    assert session.closed
    assert session.acked == 2


@pytest.mark.parametrize("answer", [None, welcome()])
def test_bye_with_nothing_in_flight_closes_at_once(answer: Welcome | None) -> None:
    session = SendingSession(hello(), Limits(), 0)
    if answer:
        say(session, answer)
    session.bye("stopping", 0)
    assert session.closed
    assert isinstance(sent(session)[-1], Bye)
    session.bye("again", 0)
    assert sent(session) == []


def test_bye_in_an_open_group_ends_with_central_s_bye() -> None:
    session = streaming()
    made = batch(1, (2,), open_=True)
    session.send(made, 0)
    session.bye("stopping", 0)
    assert say(session, Bye("goodbye", 0, 0.0)) == [PeerClosing(Bye("goodbye", 0, 0.0))]
    assert session.closed


def test_central_s_bye_is_answered_and_what_it_still_applies_is_awaited() -> None:
    session = streaming()
    one, two = chain(1, 1)
    session.send(one, 0)
    session.send(two, 0)
    session.data_to_send()
    assert say(session, Bye("restart", 1, 5.0)) == [PeerClosing(Bye("restart", 1, 5.0))]
    assert sent(session) == [Bye("goodbye", 2, 0.0)]
    assert not session.can_send(1)
    assert not session.closed
    say(session, Ack(1, one.digest_after, 1 << 20))
    assert session.closed


def test_a_hello_is_no_answer() -> None:
    session = SendingSession(hello(), Limits(), 0)
    [event] = say(session, hello())
    assert isinstance(event, Failed)
    assert event.error.code == "bad-state"
    assert isinstance(sent(session)[-1], Error)


def test_after_an_error_nothing_is_heard_or_said() -> None:
    session = streaming()
    [event] = say(session, Error("fenced", "Words", "", 0, class_="reconnect"))
    assert isinstance(event, Failed)
    assert event.error.class_ is Class.RECONNECT
    assert session.closed
    assert sent(session) == []
    assert say(session, Hello(*[getattr(hello(), name) for name in Hello.__slots__])) == []
    session.fail(WireError("gap", "Words"), 0)
    session.bye("late", 0)
    assert sent(session) == []
    assert not session.can_send(0)


def resuming() -> SendingSession:
    """A session that goes on after two records that central has staged."""
    session = SendingSession(hello(), Limits(), 0)
    [first] = chain(2)
    say(session, welcome(staged_seq=2, staged_digest=first.digest_after))
    session.confirm(3, first.digest_after, 0)
    assert sent(session)[-1] == Confirm(1, 3, first.digest_after)
    return session


def test_it_goes_on_after_what_is_staged() -> None:
    session = resuming()
    assert (session.acked, session.sent_seq, session.in_flight) == (0, 2, 0)
    first, second = chain(2, 3)
    with pytest.raises(WireError) as failed:
        session.send(first, 0)
    assert failed.value.code == "gap"
    session.send(second, 0)
    assert say(session, Ack(5, second.digest_after, 1 << 20)) == [Acked(5, second.digest_after)]
    assert session.in_flight == 0


def test_what_follows_the_staged_records_has_to_continue_them() -> None:
    with pytest.raises(WireError) as failed:
        resuming().send(batch(3, (1,), digest=DIGEST), 0)
    assert failed.value.code == "digest-mismatch"


def test_a_site_that_resumed_leaves_although_the_group_has_not_ended() -> None:
    session = resuming()
    session.bye("done", 0)
    assert not session.closed
    say(session, Bye("goodbye", 0, 0))
    assert session.closed
