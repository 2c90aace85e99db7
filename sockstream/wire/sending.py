"""The site's end of a link."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from . import frames, session
from .errors import Class, WireError
from .limits import Limits
from .messages import Ack, Bye, Confirm, Error, Hello, Message, Progress, Records, Refuse, Welcome
from .messages import pack as pack_message
from .records import Batch, digest_at
from .session import AT_THE_SITE, Session, State

Event = session.Event
PeerClosing = session.PeerClosing
Failed = session.Failed


@dataclass(frozen=True, slots=True)
class Welcomed(Event):
    """Central knows the stream. Judge the welcome, store the session, then `confirm` or `fail`."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Acked(Event):
    """Central has committed everything up to `offset`."""

    offset: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """Central is applying a long transaction: `applied` records of it so far, up to `seq`.

    `trouble`: why its database refuses for now.
    """

    seq: int
    applied: int
    trouble: WireError | None = None


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Central will not talk with this site. The session is closed."""

    error: WireError


@dataclass(frozen=True, slots=True)
class _Sent:
    last_seq: int
    digest: bytes
    size: int


class SendingSession(Session):
    """Says hello, keeps the window, and knows what is acked.

    `acked` is the last seq that central has committed, `sent_seq` the last one that was sent.
    `acked` begins at central's offset, `sent_seq` there or at the end of what central has staged.
    """

    _table = AT_THE_SITE

    def __init__(self, hello: Hello, limits: Limits, now: float) -> None:
        super().__init__(limits, now)
        self.acked = 0
        self.sent_seq = 0
        self._codecs = tuple(hello.codecs)
        self._acked_digest = b""
        self._sent_digest = b""
        self._last_to_come = 0
        self._window = 0
        self._credit = 0
        self._codec = ""
        self._frame_limit = 0
        self._session = 0
        self._sent_bytes = 0
        self._unacked: deque[_Sent] = deque()
        self._send(hello)

    @property
    def in_flight(self) -> int:
        """The bytes of the batches that were sent and are not acked."""
        return sum(sent.size for sent in self._unacked)

    def confirm(self, first_seq: int, digest: bytes, now: float) -> None:
        """The session is stored; records begin at `first_seq`, before which `digest` was found.

        Does nothing once closed. Raises ValueError if there is no welcome to confirm.
        """
        if self.closed:
            return
        if self.state is not State.JUDGING:
            raise ValueError(f"nothing to confirm while {self.state}")
        if first_seq > self.sent_seq + 1:
            self.sent_seq, self._sent_digest = first_seq - 1, digest
        self._send(Confirm(self._session, first_seq, digest))
        self.state = State.STREAMING

    def can_send(self, size: int) -> bool:
        """Whether a batch of this `size` may be sent now.

        One that is larger than the window may, if central has taken everything before it.
        """
        if self.state is not State.STREAMING:
            return False
        outstanding = self._sent_bytes + self._window - self._credit
        return outstanding == 0 or outstanding + size <= self._window

    def send(self, batch: Batch, now: float) -> None:
        """Send a batch: the one that holds offset + 1 first, then each that follows.

        Raises ValueError if `can_send` says no. Raises WireError, with nothing sent: gap or
        digest-mismatch if it does not continue what was sent, record-too-large if no frame holds
        it.
        """
        if not self.can_send(batch.size):
            raise ValueError(f"{batch.size} bytes may not be sent now")
        self._check_chain(batch)
        frame = pack_message(Records(batch, self._codec))
        if len(frame) - frames.LENGTH_SIZE > self._frame_limit:
            raise WireError(
                "record-too-large",
                f"A batch of {len(frame)} bytes does not fit in a frame of {self._frame_limit}",
                "Raise MAX_FRAME at both ends",
                batch.first_seq,
            )
        self._outbound += frame
        self._sent_bytes += batch.size
        self.sent_seq, self._sent_digest = batch.last_seq, batch.digest_after
        self._unacked.append(_Sent(batch.last_seq, batch.digest_after, batch.size))

    def bye(self, reason: str, now: float) -> None:
        """Send nothing new; the session closes when what is in flight was acked."""
        if self.state in {State.OPENING, State.JUDGING, State.STREAMING}:
            self._say_bye(Bye(reason, self.sent_seq, 0), now)
            self.state = State.LEAVING
            self._close_if_acked(self.sent_seq)

    def fail(self, error: WireError, now: float) -> None:
        """Tell central of an error, and close."""
        if not self.closed:
            self._close_with(Error.of(error))

    def _end_session(self, now: float) -> None:
        self.bye("session-deadline", now)

    def _on(self, message: Message, before: State, now: float) -> list[Event]:
        match message:
            case Welcome():
                self._welcomed(message, now)
                return [Welcomed(message)]
            case Refuse():
                return [Refused(message.error)]
            case Ack():
                return self._acked(message)
            case Progress(seq, applied, code, words):
                trouble = WireError(code, words, class_=Class.RETRY) if code else None
                return [Progressed(seq, applied, trouble)]
            case Bye():
                self._dismissed(message, before, now)
                return [PeerClosing(message)]
        raise AssertionError(message)

    def _welcomed(self, welcome: Welcome, now: float) -> None:
        if welcome.codec and welcome.codec not in self._codecs:
            raise WireError("bad-message", f"Central chose the codec {welcome.codec!r}")
        self._handshake_by = math.inf
        self._start_clocks(welcome, now)
        self._session, self._codec = welcome.session, welcome.codec
        self._window = self._credit = welcome.window
        self._frame_limit = min(welcome.frame_limit, self.limits.frame)
        self._reader.limit = self._frame_limit
        self.acked = self.sent_seq = welcome.offset
        self._acked_digest = self._sent_digest = welcome.digest

    def _check_chain(self, batch: Batch) -> None:
        next_seq = self.sent_seq + 1
        if not batch.first_seq <= next_seq <= batch.last_seq:
            raise WireError(
                "gap",
                f"The oplog gave records {batch.first_seq} to {batch.last_seq} where {next_seq} "
                "was to be sent",
                "Restore the oplog, or make a new snapshot of the site",
                next_seq,
                class_=Class.PERSON,
            )
        if digest_at(batch, self.sent_seq) != self._sent_digest:
            raise WireError(
                "digest-mismatch",
                f"The oplog's batch from {batch.first_seq} on does not continue what is before it",
                "Restore the oplog, or make a new snapshot of the site",
                next_seq,
            )

    def _acked(self, ack: Ack) -> list[Event]:
        if ack.offset < self.acked or ack.credit < self._credit:
            # Overtaken on the way by a newer one, which says all that this one says.
            return []
        self._check_ack(ack)
        self._credit = ack.credit
        if ack.offset == self.acked:
            return []
        while self._unacked and self._unacked[0].last_seq <= ack.offset:
            self._unacked.popleft()
        self.acked, self._acked_digest = ack.offset, ack.digest
        if self.state is State.LEAVING:
            self._close_if_acked(self.sent_seq)
        elif self.state is State.PARTING:
            self._close_if_acked(self._last_to_come)
        return [Acked(ack.offset, ack.digest)]

    def _check_ack(self, ack: Ack) -> None:
        if ack.offset > self.sent_seq:
            raise WireError("bad-message", f"Central acks {ack.offset}, which is not in flight")
        if ack.credit > self._window + self._sent_bytes:
            raise WireError("bad-message", f"Central grants {ack.credit} bytes, which cannot be")
        ours = self._acked_digest if ack.offset == self.acked else None
        for sent in self._unacked:
            if sent.last_seq == ack.offset:
                ours = sent.digest
        if ours is not None and ours != ack.digest:
            raise WireError(
                "digest-mismatch",
                f"Central acks another history up to {ack.offset}",
                "",
                ack.offset,
            )

    def _dismissed(self, bye: Bye, before: State, now: float) -> None:
        if before is not State.LEAVING:
            self._say_bye(Bye("goodbye", self.sent_seq, 0), now)
        self._last_to_come = min(bye.last_seq, self.sent_seq)
        self._close_if_acked(self._last_to_come)

    def _close_if_acked(self, seq: int) -> None:
        if self.acked >= seq:
            self.state = State.CLOSED
