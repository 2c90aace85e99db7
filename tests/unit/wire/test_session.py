"""Time, life and death of a link: two floats in the place of a clock."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Ack, Bye, Confirm, Message, Ping, Pong, Progress, pack, unpack
from sockstream.wire.receiving import ReceivingSession
from sockstream.wire.sending import Progressed, SendingSession
from sockstream.wire.session import (
    AT_CENTRAL,
    AT_THE_SITE,
    Event,
    Failed,
    PeerClosing,
    Session,
    State,
    Table,
)

from .samples import MESSAGES, chain, hello, welcome

LIMITS = Limits(heartbeat=10, handshake=7, drain=20, answers=5)


def site(**changes: object) -> SendingSession:
    session = SendingSession(hello(), LIMITS, 0)
    session.receive(pack(welcome(**changes)), 0)
    session.confirm(1, bytes(16), 0)
    session.data_to_send()
    return session


def central(**changes: object) -> ReceivingSession:
    session = ReceivingSession(LIMITS, 0)
    session.receive(pack(hello()), 0)
    session.welcome(welcome(**changes), 0)
    session.receive(pack(Confirm(1, 1, bytes(16))), 0)
    session.data_to_send()
    return session


ENDS = pytest.mark.parametrize("make", [site, central], ids=["site", "central"])


def sent(session: Session) -> Message | None:
    data = session.data_to_send()
    return unpack(data[4:]) if data else None


def code(events: list[Event]) -> str:
    [event] = events
    assert isinstance(event, Failed)
    return event.error.code


@ENDS
def test_a_ping_goes_out_every_heartbeat_whatever_else_happens(make: Callable[[], Session]) -> None:
    end = make()
    assert end.deadline == 10
    assert end.tick(9.9) == []
    assert sent(end) is None
    end.receive(pack(Ping(1)), 9.9)
    end.data_to_send()
    assert end.tick(10) == []
    assert sent(end) == Ping(1)
    assert end.deadline == 20


@ENDS
def test_a_silent_peer_is_dropped_after_three_heartbeats(make: Callable[[], Session]) -> None:
    end = make()
    for now in (10, 20):
        assert end.tick(now) == []
    assert end.deadline == 30
    assert end.tick(29.9) == []
    assert code(end.tick(30)) == "silence"
    assert end.closed
    assert end.deadline == math.inf
    assert end.tick(31) == []


@ENDS
def test_any_byte_is_life(make: Callable[[], Session]) -> None:
    end = make()
    data = pack(Ping(7))
    for now, byte in enumerate(data[:-1], 1):
        assert end.receive(bytes([byte]), now * 29.0) == []
        assert end.tick(now * 29.0) == []
    last = (len(data) - 1) * 29.0
    assert end.receive(b"", last + 30) == []
    assert code(end.tick(last + 30)) == "silence"


def test_the_heartbeat_is_the_one_in_the_welcome() -> None:
    end = site(heartbeat=2)
    assert end.deadline == 2
    assert code(end.tick(6)) == "silence"


def test_progress_is_life() -> None:
    end = site()
    for now in (25, 50, 75):
        assert end.receive(pack(Progress(5, now)), now) == [Progressed(5, now)]
        assert end.tick(now) == []
    assert not end.closed


@ENDS
def test_a_ping_is_answered_at_once(make: Callable[[], Session]) -> None:
    end = make()
    assert end.receive(pack(Ping(42)), 1) == []
    assert sent(end) == Pong(42)
    assert end.receive(pack(Pong(42)), 1) == []
    assert sent(end) is None


@ENDS
def test_a_flood_of_pings_ends_the_session(make: Callable[[], Session]) -> None:
    end = make()
    assert end.receive(pack(Ping(1)) * 5, 1) == []
    assert code(end.receive(pack(Ping(1)), 9.9)) == "too-many-pings"
    end = make()
    for now in range(0, 100, 10):
        assert end.receive(pack(Ping(1)) * 5, now) == []


def test_a_site_that_gets_no_welcome_gives_up() -> None:
    end = SendingSession(hello(), LIMITS, 100)
    assert end.deadline == 107
    assert end.tick(106.9) == []
    assert code(end.tick(107)) == "handshake-timeout"


def test_the_site_may_take_its_time_to_judge_the_welcome() -> None:
    end = SendingSession(hello(), LIMITS, 0)
    end.receive(pack(welcome()), 6)
    assert end.tick(7) == []
    assert end.deadline == 16


def test_a_dribbled_hello_is_not_waited_for() -> None:
    end = ReceivingSession(LIMITS, 0)
    for now, byte in enumerate(pack(hello())[:6], 1):
        assert end.receive(bytes([byte]), now) == []
    assert end.deadline == 7
    assert code(end.tick(7)) == "handshake-timeout"


def test_central_may_take_its_time_to_judge_the_hello() -> None:
    end = ReceivingSession(LIMITS, 0)
    end.receive(pack(hello()), 6)
    assert end.deadline == math.inf
    assert end.tick(100) == []


def test_a_confirm_is_waited_for_as_long_as_a_hello() -> None:
    end = ReceivingSession(LIMITS, 0)
    end.receive(pack(hello()), 0)
    end.welcome(welcome(), 50)
    assert end.deadline == 57
    assert code(end.tick(57)) == "handshake-timeout"


def test_the_site_ends_the_session_in_time() -> None:
    end = site(session_deadline=5)
    [made] = chain(1)
    end.send(made, 0)
    end.data_to_send()
    assert end.deadline == 5
    assert end.tick(5) == []
    assert sent(end) == Bye("session-deadline", 1, 0.0)
    assert not end.closed
    end.receive(pack(Ack(1, made.digest_after, 1 << 20)), 6)
    assert end.closed


def test_central_ends_the_session_in_time() -> None:
    end = central(session_deadline=5)
    assert end.tick(5) == []
    assert sent(end) == Bye("session-deadline", 0, 0.0)
    end.receive(pack(Bye("goodbye", 0, 0)), 6)
    assert end.closed


@ENDS
def test_without_a_session_deadline_there_is_none(make: Callable[[], Session]) -> None:
    end = make()
    for now in range(10, 100_000, 1000):
        end.receive(pack(Pong(0)), now)
        assert end.tick(now) == []


def test_a_drain_ends_in_time_at_the_site() -> None:
    end = site()
    end.send(chain(1)[0], 0)
    end.bye("stopping", 0)
    end.receive(pack(Pong(0)), 15)
    assert end.tick(19) == []
    assert code(end.tick(20)) == "drain-timeout"


def test_a_drain_ends_in_time_at_central() -> None:
    end = central()
    end.bye("restart", 0, 1, 0)
    end.receive(pack(Pong(0)), 15)
    assert end.tick(19) == []
    assert code(end.tick(20)) == "drain-timeout"


@ENDS
def test_an_end_without_bye_is_an_error(make: Callable[[], Session]) -> None:
    end = make()
    assert code(end.receive_eof(1)) == "connection-lost"
    assert end.closed
    assert end.receive_eof(2) == []
    end = make()
    end.receive(b"\0\0", 1)
    [event] = end.receive_eof(1)
    assert isinstance(event, Failed)
    assert "middle" in event.error.words


def test_an_end_after_bye_is_none() -> None:
    end = central()
    end.bye("restart", 0, 1, 0)
    assert end.receive_eof(1) == []
    assert end.closed


@ENDS
def test_good_frames_before_a_bad_one_are_heard(make: Callable[[], Session]) -> None:
    end = make()
    bye = Bye("done", 0, 0.0)
    events = end.receive(pack(bye) + b"\xff\xff\xff\xff", 1)
    assert events[0] == PeerClosing(bye)
    end = make()
    assert code(end.receive(pack(Ping(1)) + b"\0\0\0\0", 1)) == "bad-frame"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize(
    ("make", "table", "state"),
    [(site, AT_THE_SITE, state) for state in AT_THE_SITE]
    + [(central, AT_CENTRAL, state) for state in AT_CENTRAL],
)
def test_what_is_not_in_the_table_is_an_error(
    make: Callable[[], Session], table: Table, state: State, message: Message
) -> None:
    end = make()
    end.state = state
    events = end.receive(pack(message), 1)
    codes = {event.error.code for event in events if isinstance(event, Failed)}
    if type(message) in table[state]:
        assert "bad-state" not in codes
    else:
        assert codes == {"bad-state"}
        assert end.closed


def test_both_ends_agree_on_what_may_be_said() -> None:
    to_site = {kind for row in AT_THE_SITE.values() for kind in row}
    to_central = {kind for row in AT_CENTRAL.values() for kind in row}
    assert {type(message) for message in MESSAGES} == to_site | to_central
    assert {kind.__name__ for kind in to_site & to_central} == {"Ping", "Pong", "Bye", "Error"}


def test_the_limits_have_defaults_that_fit_together() -> None:
    limits = Limits()
    assert limits.silence == 30
    assert limits.first_frame == 64 << 10
    assert limits.window < limits.frame


def test_an_error_of_our_own_is_told_to_the_peer() -> None:
    end = site()
    end.fail(WireError("internal", "Words"), 1)
    assert end.deadline == math.inf
    assert sent(end) is not None
