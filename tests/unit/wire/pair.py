"""Two session machines back to back, over a connection that cuts, repeats and loses.

`Site` and `Central` are the least that a driver has to do: they keep what a database would keep,
and nothing else survives a cut. `Pair` is the world between them: it decides what arrives, when,
and in which pieces.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from sockstream.wire import handshake, receiving, sending
from sockstream.wire.digest import ZERO, Position
from sockstream.wire.errors import WireError
from sockstream.wire.frames import FrameReader, encode
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Welcome
from sockstream.wire.records import INSERT, Batch, BatchBuilder, digest_at, segments

from .samples import EPOCH, QUESTION, hello

LIMITS = Limits(frame=1 << 20, window=600, heartbeat=10, handshake=10)


class Site:
    """An oplog, what was acked, and at most one session."""

    def __init__(self, codecs: tuple[str, ...] = ("zlib",), *, resumes: bool = True) -> None:
        self.resumes = resumes
        self.oplog: list[Batch] = []
        self.written: list[int] = []
        self.acked = 0
        self.last_session = 0
        self.codecs = codecs
        self.session: sending.SendingSession | None = None
        self.errors: list[WireError] = []
        self.peaceful = 0
        self._cursor = 0

    @property
    def head(self) -> tuple[int, bytes]:
        last = self.oplog[-1] if self.oplog else None
        return (last.last_seq, last.digest_after) if last else (0, ZERO)

    @property
    def group_open(self) -> bool:
        return bool(self.oplog) and self.oplog[-1].open

    def write(self, groups: list[int], text: str, *, open_: bool = False) -> None:
        """Number so many records in each of the groups; the last group stays open if `open_`."""
        seq, digest = self.head
        builder = BatchBuilder(seq + 1, digest)
        for number, size in enumerate(groups, 1):
            for _ in range(size):
                self.written.append(len(self.written) + 1)
                builder.add(INSERT, QUESTION, [self.written[-1], text, None])
            if number < len(groups) or not open_:
                builder.end_group()
        self.oplog.append(builder.build(open_))

    def connect(self, now: float) -> None:
        seq, digest = self.head
        said = hello(
            epoch=EPOCH,
            highest_seq=seq,
            digest=digest,
            acked_seq=self.acked,
            last_session=self.last_session,
            codecs=self.codecs,
        )
        self.session = sending.SendingSession(said, LIMITS, now)

    def handle(self, events: list[sending.Event], now: float) -> None:
        assert self.session is not None
        for event in events:
            match event:
                case sending.Welcomed(welcome):
                    self._judge(welcome, now)
                case sending.Acked(offset):
                    assert offset > self.acked or offset <= self.session.acked
                    self.acked = max(self.acked, offset)
                case sending.Refused(error) | sending.Failed(error):
                    self.errors.append(error)
                case sending.PeerClosing():
                    self.peaceful += 1
        self.fill(now)

    def fill(self, now: float) -> None:
        """Send all that the window takes."""
        assert self.session is not None
        while self._cursor < len(self.oplog):
            batch = self.oplog[self._cursor]
            if not self.session.can_send(batch.size):
                return
            self.session.send(batch, now)
            self._cursor += 1

    def digest_at(self, seq: int) -> bytes | None:
        if seq == 0:
            return ZERO
        found = (digest_at(batch, seq) for batch in self.oplog if batch.last_seq >= seq)
        return next(found, None)

    def _judge(self, welcome: Welcome, now: float) -> None:
        assert self.session is not None
        at_staged = self.digest_at(welcome.staged_seq) if self.resumes else None
        found = handshake.judge_welcome(
            welcome,
            self.digest_at(welcome.offset),
            1,
            self.head[0],
            digest_at_staged=at_staged,
            acked=self.acked,
        )
        assert welcome.session >= self.last_session
        self.last_session = welcome.session
        self._cursor = sum(batch.last_seq < found.next_seq for batch in self.oplog)
        ahead = self.oplog[self._cursor : self._cursor + 1]
        first_seq = ahead[0].first_seq if ahead else found.next_seq
        self.session.confirm(first_seq, found.digest, now)
        # As an ack would, a welcome says what is applied.
        self.acked = max(self.acked, welcome.offset)


@dataclass(frozen=True)
class Durable:
    """What central's database holds: rows and offset change together or not at all.

    `staged` is what it has of an unfinished group, up to `staged_end`.
    """

    applied: tuple[int, ...] = ()
    position: Position | None = None
    staged: tuple[int, ...] = ()
    staged_end: Position | None = None
    session: int = 0
    confirmed: bool = True


@dataclass
class Central:
    """A database, and at most one session with its queue."""

    durable: Durable = field(default_factory=Durable)
    session: receiving.ReceivingSession | None = None
    errors: list[WireError] = field(default_factory=list)
    queue: deque[receiving.BatchReceived] = field(default_factory=deque)
    sent_again: int = 0
    largest: int = 0
    warnings: list[str] = field(default_factory=list)

    def connect(self, now: float) -> None:
        """Take over: what an older session has not committed is gone."""
        self.session = receiving.ReceivingSession(LIMITS, now)
        self.queue.clear()

    def handle(self, events: list[receiving.Event], now: float) -> None:
        for event in events:
            match event:
                case receiving.HelloReceived(said):
                    self._judge(said, now)
                case receiving.Confirmed():
                    self.durable = replace(self.durable, confirmed=True)
                case receiving.BatchReceived():
                    self.queue.append(event)
                    self._check_memory(event.size)
                case receiving.Failed(error):
                    self.errors.append(error)

    def apply(self, now: float, *, ack: bool = True) -> bool:
        """Apply the next batch; a group that has not ended is staged. False: none waits."""
        assert self.session is not None
        if not self.queue:
            return False
        event = self.queue.popleft()
        for part in segments(event.batch):
            durable = self.durable
            end = durable.staged_end or durable.position
            assert end is not None
            if part.last_seq <= end.seq:
                self.sent_again += durable.staged_end is not None
                continue
            assert part.first_seq == end.seq + 1
            known = (*durable.staged, *(values[0] for _, _, values in part.records))
            position = Position(EPOCH, part.last_seq, part.digest_after)
            if part.ends_group:
                applied = (*durable.applied, *known)
                self.durable = replace(
                    durable, applied=applied, position=position, staged=(), staged_end=None
                )
            else:
                self.durable = replace(durable, staged=known, staged_end=position)
        if ack:
            assert self.durable.position is not None
            self.session.consumed(event.size, now)
            self.session.applied(self.durable.position.seq, self.durable.position.digest, now)
        return True

    def _judge(self, said: Any, now: float) -> None:
        assert self.session is not None
        durable = self.durable
        try:
            judgement = handshake.judge_hello(
                said, durable.position, durable.session, durable.confirmed
            )
        except WireError as error:
            self.session.refuse(error, now)
            return
        if judgement.warning:
            self.warnings.append(judgement.warning.code)
        self.durable = replace(
            durable,
            position=durable.position or Position(said.epoch, 0, ZERO),
            session=judgement.session,
            confirmed=False,
        )
        answer = Welcome(
            judgement.protocol,
            "central",
            judgement.session,
            judgement.offset,
            judgement.digest,
            LIMITS.window,
            LIMITS.frame,
            said.codecs[0] if said.codecs else "",
            LIMITS.heartbeat,
            0.0,
            judgement.schema_verdict,
            *((staged.seq, staged.digest) if (staged := durable.staged_end) else ()),
        )
        self.session.welcome(answer, now)

    def _check_memory(self, size: int) -> None:
        self.largest = max(self.largest, size)
        waiting = sum(event.size for event in self.queue)
        assert waiting <= max(LIMITS.window, size), "the window is exceeded"


class Pipe:
    """One direction of a connection. Bytes arrive in any pieces; whole frames can be tampered."""

    def __init__(self) -> None:
        self._reader = FrameReader(1 << 30)
        self.frames: deque[bytes] = deque()

    def put(self, data: bytes) -> None:
        self.frames.extend(encode(body) for body in self._reader.feed(data))

    def take(self, size: int) -> bytes:
        """The next `size` bytes, or what there is."""
        taken = bytearray()
        while self.frames and len(taken) < size:
            frame = self.frames.popleft()
            part = size - len(taken)
            taken += frame[:part]
            if frame[part:]:
                self.frames.appendleft(_Rest(frame[part:]))
        return bytes(taken)

    def tamper(self, index: int, *, repeat: bool) -> None:
        """Repeat or lose a frame of which nothing has arrived yet."""
        whole = [n for n, frame in enumerate(self.frames) if not isinstance(frame, _Rest)]
        if not whole:
            return
        chosen = whole[index % len(whole)]
        if repeat:
            self.frames.insert(chosen, self.frames[chosen])
        else:
            del self.frames[chosen]


class _Rest(bytes):
    """What is left of a frame whose beginning has arrived."""


class Pair:
    """Site and central, and the connection between them."""

    def __init__(self, codecs: tuple[str, ...] = ("zlib",), *, resumes: bool = True) -> None:
        self.now = 0.0
        self.site = Site(codecs, resumes=resumes)
        self.central = Central()
        self.up = Pipe()
        self.down = Pipe()
        self.connect()

    @property
    def connected(self) -> bool:
        return self.site.session is not None

    def connect(self) -> None:
        """A new connection. An older one is gone, with all that was on its way."""
        self.up, self.down = Pipe(), Pipe()
        self.site.connect(self.now)
        self.central.connect(self.now)
        self._collect()

    def cut(self, *, noticed: bool = True) -> None:
        """The connection breaks; `noticed`: both ends see its end."""
        if noticed and self.site.session and self.central.session:
            self.site.handle(self.site.session.receive_eof(self.now), self.now)
            self.central.handle(self.central.session.receive_eof(self.now), self.now)
        self.up, self.down = Pipe(), Pipe()
        self.site.session = self.central.session = None

    def move_up(self, size: int = 1 << 30) -> bool:
        """Let `size` bytes arrive at central. False: none were on the way."""
        assert self.central.session is not None
        data = self.up.take(size)
        self.central.handle(self.central.session.receive(data, self.now), self.now)
        self._collect()
        return bool(data)

    def move_down(self, size: int = 1 << 30) -> bool:
        """Let `size` bytes arrive at the site. False: none were on the way."""
        assert self.site.session is not None
        data = self.down.take(size)
        self.site.handle(self.site.session.receive(data, self.now), self.now)
        self._collect()
        return bool(data)

    def fill(self) -> None:
        self.site.fill(self.now)
        self._collect()

    def apply(self, *, ack: bool = True) -> bool:
        done = self.central.apply(self.now, ack=ack)
        self._collect()
        return done

    def tick(self, seconds: float) -> None:
        """Let time pass at both ends."""
        self.now += seconds
        if self.site.session and self.central.session:
            self.site.handle(self.site.session.tick(self.now), self.now)
            self.central.handle(self.central.session.tick(self.now), self.now)
            self._collect()

    def settle(self) -> None:
        """Let everything arrive and be applied, until nothing moves any more."""
        self.fill()
        while any([self.move_up(), self.move_down(), self.apply()]):
            pass

    def heal(self) -> None:
        """What a driver does after any error: connect again, until all is acked."""
        for _ in range(10):
            if not self._is_whole:
                self.connect()
            self.settle()
            if self._is_whole:
                return
        raise AssertionError(f"nothing moves any more: {self.site.errors} {self.central.errors}")

    @property
    def _is_whole(self) -> bool:
        # What was acked may be gone: central was restored, and its site has not heard of it yet.
        applied = len(self.central.durable.applied)
        return self.site.session is not None and min(self.site.acked, applied) >= self.complete

    @property
    def complete(self) -> int:
        """The last seq that ends a group."""
        last = 0
        for batch in self.site.oplog:
            seq = batch.first_seq - 1
            for number, segment in enumerate(batch.segments, 1):
                seq += segment.count
                if number < len(batch.segments) or not batch.open:
                    last = seq
        return last

    def _collect(self) -> None:
        if self.site.session and self.central.session:
            self.up.put(self.site.session.data_to_send())
            self.down.put(self.central.session.data_to_send())
