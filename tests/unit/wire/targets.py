"""What is fuzzed: each target takes any bytes, and raises only if the code under test is wrong.

`make fuzz` looks for bytes that lead somewhere new, `test_corpus.py` replays those that were kept.
A session's target reads its bytes as a script: in which state to begin, then steps, each a number
and what it needs. Most steps hand over bytes of a peer; the others are what a driver does.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from sockstream.wire.bounded import check_depth, survey, unpack_all, unpack_one
from sockstream.wire.compression import decompress
from sockstream.wire.digest import ZERO, extend
from sockstream.wire.errors import WireError
from sockstream.wire.frames import FrameReader
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Bye, Confirm, Records, pack, unpack
from sockstream.wire.receiving import BatchReceived, ReceivingSession
from sockstream.wire.records import Batch, Segment, segments
from sockstream.wire.sending import SendingSession, Welcomed
from sockstream.wire.session import Event, Failed, Session, State

from .samples import chain, hello, welcome

LIMITS = Limits(frame=64 << 10, first_frame=4 << 10, window=2048, elements=4096, depth=8)
BYE = "fuzzed"
# An error's texts may be that long in each of its elements, and a question's answer is a few bytes.
OUT_BASE, OUT_FACTOR = 32 << 10, 8


class Script:
    """Bytes, taken one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def take(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        self._at += size
        return found

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size))


def frames(data: bytes) -> None:
    """However the bytes are cut, the same bodies come out, and the same error at the end."""
    script = Script(data)
    size = 1 + script.number()
    rest = script.take(len(data))
    whole, pieces = FrameReader(300), FrameReader(300)
    expected, error = _bodies(whole, [rest])
    found, other = _bodies(pieces, [rest[i : i + size] for i in range(0, len(rest), size)])
    assert (found, other) == (expected, error)
    assert sum(map(len, found)) <= len(rest)
    assert all(0 < len(body) <= 300 for body in found)


def _bodies(reader: FrameReader, pieces: list[bytes]) -> tuple[list[bytes], str]:
    bodies = []
    try:
        for piece in pieces:
            reader.push(piece)
            while (body := reader.next()) is not None:
                bodies.append(body)
    except WireError as error:
        return bodies, error.code
    return bodies, ""


def bounded(data: bytes) -> None:
    """One object, several, and reading through without building: bounded, and of one mind."""
    with suppress(WireError):
        check_depth(unpack_one(data, LIMITS), LIMITS.depth)
    count = data[0] if data else 1
    with suppress(WireError):
        found = unpack_all(data[1:], count, LIMITS)
        assert len(found) == count
    with suppress(WireError):
        survey(data, LIMITS)


def messages(data: bytes) -> None:
    """What is understood can be said again, and is understood in the same way."""
    with suppress(WireError):
        message = unpack(data, LIMITS)
        again = unpack(pack(message)[4:], LIMITS)
        assert again == message or isinstance(message, Records)


def records(data: bytes) -> None:
    """A batch of these bytes, compressed or not, with a digest that is right."""
    script = Script(data)
    codec = ("", "zlib")[script.number() % 2]
    raw_length, count = script.number(2), script.number(2)
    header = script.take(script.number())
    with suppress(WireError):
        raw = decompress(script.take(len(data)), codec, raw_length, LIMITS.frame)
        assert len(raw) == raw_length
        after = extend(ZERO, header, raw)
        batch = Batch(1, (Segment(count, len(raw)),), False, header, raw, ZERO, after)
        for part in segments(batch, LIMITS):
            assert len(part.records) == count
            assert all(len(record) == 3 for record in part.records)


CENTRAL_STATES = tuple(State)
SITE_STATES = tuple(state for state in State if state not in {State.WELCOMED, State.LEFT})
BATCHES = chain(2, 3, 1, 4, text="x" * 100)


def central_in(state: State) -> ReceivingSession:
    """Central's session, brought into this state as a peer and a driver would."""
    session = ReceivingSession(LIMITS, 0)
    before = [State.OPENING, State.JUDGING, State.WELCOMED, State.STREAMING, State.LEAVING]
    steps: list[Callable[[], object]] = [
        lambda: session.receive(pack(hello()), 0),
        lambda: session.welcome(welcome(window=LIMITS.window, frame_limit=LIMITS.frame), 0),
        lambda: session.receive(pack(Confirm(1, 1, ZERO)), 0),
        lambda: session.bye(BYE, 0, 1, 0),
    ]
    match state:
        case State.LEFT:
            steps[3:] = [
                lambda: session.receive(pack(Records(BATCHES[0])), 0),
                lambda: session.receive(pack(bye(2)), 0),
            ]
        case State.PARTING:
            steps[3:] = [
                lambda: session.receive(pack(Records(BATCHES[0])), 0),
                lambda: session.bye(BYE, 2, 1, 0),
                lambda: session.receive(pack(bye(2)), 0),
            ]
        case State.CLOSED:
            steps = [lambda: session.receive_eof(0)]
        case _:
            steps = steps[: before.index(state)]
    for step in steps:
        step()
    assert session.state is state, (session.state, state)
    session.data_to_send()
    return session


def site_in(state: State) -> SendingSession:
    """The site's session, brought into this state. Before it leaves, it sends two batches."""
    session = SendingSession(hello(highest_seq=10), LIMITS, 0)
    order = [State.OPENING, State.JUDGING, State.STREAMING, State.LEAVING, State.PARTING]

    def leave() -> None:
        for batch in BATCHES[:2]:
            session.send(batch, 0)
        session.bye(BYE, 0)

    steps: list[Callable[[], object]] = [
        lambda: session.receive(pack(welcome(window=LIMITS.window, frame_limit=LIMITS.frame)), 0),
        lambda: session.confirm(1, ZERO, 0),
        leave,
        lambda: session.receive(pack(bye(5)), 0),
    ]
    if state is State.CLOSED:
        session.receive_eof(0)
    else:
        for step in steps[: order.index(state)]:
            step()
    assert session.state is state, (session.state, state)
    session.data_to_send()
    return session


def bye(last_seq: int) -> Bye:
    return Bye(BYE, last_seq, 0)


class _Driver:
    """What both ends' drivers have in common, with what must be so at every moment."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now = 0.0
        self.failed = 0
        self.heard = 0
        self.said = 0

    def feed(self, data: bytes) -> None:
        was_closed = self.session.closed
        self.heard += len(data)
        events = self.session.receive(data, self.now)
        assert not (was_closed and events)
        self.take(events)

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Failed):
                self.failed += 1
                assert self.session.closed
            self.on(event)
        assert self.failed <= 1

    def on(self, event: Event) -> None:
        raise NotImplementedError

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.session.tick(self.now))

    def drain(self, steps: int) -> None:
        self.said += len(self.session.data_to_send())
        # A driver's own steps may each say something; a peer's bytes only so much.
        assert self.said <= OUT_BASE + OUT_FACTOR * self.heard + 4096 * steps
        assert not math.isnan(self.session.deadline)

    def end(self) -> None:
        """A peer that says nothing more is given up, whatever it has said before."""
        for _ in range(20):
            if self.session.closed or self.session.deadline == math.inf:
                break
            self.tick(max(0.0, self.session.deadline - self.now))
        waits_for_driver = self.session.state is State.JUDGING
        assert self.session.closed or waits_for_driver, self.session.state


class _Central(_Driver):
    session: ReceivingSession

    def __init__(self, session: ReceivingSession) -> None:
        super().__init__(session)
        self.queue: deque[Batch] = deque()

    def on(self, event: Event) -> None:
        if isinstance(event, BatchReceived):
            self.queue.append(event.batch)
            waiting = sum(each.size for each in self.queue)
            assert waiting <= LIMITS.window or len(self.queue) == 1

    def welcome(self) -> None:
        if self.session.state is State.JUDGING:
            answer = welcome(window=LIMITS.window, frame_limit=LIMITS.frame)
            self.session.welcome(answer, self.now)

    def apply(self) -> None:
        if not self.queue:
            return
        batch = self.queue.popleft()
        try:
            for _ in segments(batch, LIMITS):
                pass
        except WireError as error:
            self.session.stop(error, self.now)
            self.queue.clear()
            return
        self.session.consumed(batch.size, self.now)
        if not batch.open:
            self.session.applied(batch.last_seq, batch.digest_after, self.now)


def receiving(data: bytes) -> None:
    """Central's end, from each state."""
    script = Script(data)
    driver = _Central(central_in(CENTRAL_STATES[script.number() % len(CENTRAL_STATES)]))
    steps = 0
    while not script.over and steps < 200:
        steps += 1
        match script.number() % 8:
            case 0 | 1 | 2:
                driver.feed(script.take(script.number(2)))
            case 3:
                driver.tick(script.number() / 4)
            case 4:
                driver.welcome()
            case 5:
                driver.apply()
            case 6:
                driver.session.bye(BYE, script.number(), 1, driver.now)
            case 7:
                driver.session.progress(script.number(), 1, driver.now)
        driver.drain(steps)
    driver.end()


class _Site(_Driver):
    session: SendingSession

    def on(self, event: Event) -> None:
        if isinstance(event, Welcomed):
            assert self.session.state is State.JUDGING or self.session.closed

    def confirm(self) -> None:
        if self.session.state is State.JUDGING:
            self.session.confirm(self.session.acked + 1, ZERO, self.now)

    def send(self) -> None:
        for batch in BATCHES:
            if batch.last_seq > self.session.sent_seq and self.session.can_send(batch.size):
                with suppress(WireError):
                    self.session.send(batch, self.now)


def sending(data: bytes) -> None:
    """The site's end, from each state: nothing that central says acks what was not sent."""
    script = Script(data)
    driver = _Site(site_in(SITE_STATES[script.number() % len(SITE_STATES)]))
    steps = 0
    while not script.over and steps < 200:
        steps += 1
        match script.number() % 8:
            case 0 | 1 | 2 | 7:
                driver.feed(script.take(script.number(2)))
            case 3:
                driver.tick(script.number() / 4)
            case 4:
                driver.confirm()
            case 5:
                driver.send()
            case 6:
                driver.session.bye(BYE, driver.now)
        driver.drain(steps)
        assert driver.session.acked <= driver.session.sent_seq
        assert driver.session.in_flight <= sum(batch.size for batch in BATCHES)
    driver.end()


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each for each in (frames, bounded, messages, records, receiving, sending)
}
