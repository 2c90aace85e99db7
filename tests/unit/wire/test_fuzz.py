"""Hostile peers: whatever arrives, only a WireError comes of it, and little memory is used."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sockstream.wire.errors import WireError
from sockstream.wire.frames import encode
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Confirm, Message, Records, pack, unpack
from sockstream.wire.receiving import BatchReceived, ReceivingSession
from sockstream.wire.records import segments
from sockstream.wire.sending import SendingSession
from sockstream.wire.session import Failed, Session

from .samples import MESSAGES, batch, hello, welcome

BODIES = [pack(message)[4:] for message in MESSAGES]
MIB = 1 << 20


def use(message: Message) -> None:
    """What a receiver does with a message."""
    if isinstance(message, Records):
        for _ in segments(message.batch):
            pass


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """The body of a real message in which some bytes were changed, dropped, added or doubled."""
    body = bytearray(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 3)):
            case 0:
                body[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del body[place : place + draw(st.integers(1, 8))]
            case 2:
                body[place:place] = draw(st.binary(max_size=8))
            case 3:
                body[place:place] = body[place : place + draw(st.integers(1, 40))]
    return bytes(body)


@given(st.binary())
@example(b"\x91" * 100_000)
@settings(max_examples=300)
def test_random_bytes_are_refused(body: bytes) -> None:
    with suppress(WireError):
        use(unpack(body))


@given(mutated())
@settings(max_examples=1000, deadline=None)
def test_mutated_messages_are_understood_or_refused(body: bytes) -> None:
    with suppress(WireError):
        use(unpack(body))


def sessions() -> list[Session]:
    site = SendingSession(hello(), Limits(), 0)
    site.receive(pack(welcome()), 0)
    site.confirm(1, bytes(16), 0)
    central = ReceivingSession(Limits(), 0)
    central.receive(pack(hello()), 0)
    central.welcome(welcome(), 0)
    central.receive(pack(Confirm(1, 1, bytes(16))), 0)
    return [site, central, SendingSession(hello(), Limits(), 0), ReceivingSession(Limits(), 0)]


@given(st.lists(mutated() | st.sampled_from(BODIES), min_size=1, max_size=5), st.integers(1, 50))
@settings(max_examples=300, deadline=None)
def test_a_session_never_raises_for_what_a_peer_sends(bodies: list[bytes], size: int) -> None:
    data = b"".join(encode(body or b"\0") for body in bodies)
    for session in sessions():
        whole = []
        for start in range(0, len(data), size):
            whole += session.receive(data[start : start + size], 1)
        assert sum(isinstance(event, Failed) for event in whole) <= 1
        assert session.closed or not any(isinstance(event, Failed) for event in whole)
        session.tick(2)


@pytest.mark.parametrize(
    "stray", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n"]
)
def test_a_stray_peer_is_told_and_dropped_at_once(stray: bytes) -> None:
    session = ReceivingSession(Limits(), 0)
    [event] = session.receive(stray, 0)
    assert isinstance(event, Failed)
    assert event.error.code == "frame-too-large"
    assert session.closed


@pytest.mark.parametrize(
    "body",
    [
        b"\x80" * (4 * MIB),
        b"\xdd\x00\x40\x00\x00" + b"\x80" * (4 * MIB),
        b"\xdd\x00\x40\x00\x00" + b"\x90" * (4 * MIB),
        (b"\xdc\x10\x00" + b"\x80" * 4096) * 1024,
        b"\x91" * (4 * MIB),
        b"\xdc\xff\xff" * MIB,
        b"\x9c\x05" + (b"\xdc\x10\x00" + b"\x80" * 4096) * 1024,
    ],
    ids=["maps", "wide maps", "wide lists", "lists of maps", "deep", "claims", "in a message"],
)
def test_a_bomb_costs_little_memory(body: bytes) -> None:
    session = ReceivingSession(Limits(), 0)
    session.receive(pack(hello()), 0)
    session.welcome(welcome(frame_limit=16 * MIB), 0)
    frame = encode(body)
    tracemalloc.start()
    try:
        [event] = session.receive(frame, 0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(event, Failed)
    # The frame twice (in the buffer, and cut out of it), and what unpacking may build.
    assert peak < 2 * len(frame) + 100 * MIB


def test_a_peer_that_never_waits_cannot_fill_the_memory() -> None:
    session = sessions()[1]
    made = batch(1, (1,), text="x" * 100_000)
    handed_over = 0
    data = pack(Records(made))
    for _ in range(1000):
        for event in session.receive(data, 1):
            handed_over += isinstance(event, BatchReceived)
    assert handed_over == 1
    assert session.closed
    assert len(session.data_to_send()) < 64 << 10
