"""Central's end of a link."""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import session
from .errors import WireError
from .limits import Limits
from .messages import Ack, Bye, Confirm, Error, Hello, Message, Progress, Records, Refuse, Welcome
from .records import Batch, last_group_end
from .session import AT_CENTRAL, Session, State

Event = session.Event
PeerClosing = session.PeerClosing
Failed = session.Failed

# A credit is told once a part of the window is free: an ack a record would be half the traffic.
_TELL_CREDIT_AT = 4


@dataclass(frozen=True, slots=True)
class HelloReceived(Event):
    """A site says what it holds. Answer with `welcome` or `refuse`."""

    hello: Hello


@dataclass(frozen=True, slots=True)
class Confirmed(Event):
    """The site has stored the session; records follow."""

    confirm: Confirm


@dataclass(frozen=True, slots=True)
class BatchReceived(Event):
    """The next batch. When it has left memory, hand `size` back to `consumed`.

    The first one may begin at or below the offset: what was applied before is to be skipped.
    """

    batch: Batch
    size: int


class ReceivingSession(Session):
    """Answers a hello, grants credit, hands over batches without gaps, and acks what is applied."""

    _table = AT_CENTRAL

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits, now)
        self._session = 0
        self._window = 0
        self._offset = 0
        self._offset_digest = b""
        self._next_seq = 1
        self._digest = b""
        self._staged = 0, b""
        self._group_end = 0
        self._last_to_apply = 0
        self._received = 0
        self._consumed = 0
        self._told = 0

    @property
    def paused(self) -> bool:
        """Whether the site has no credit left until something is consumed."""
        return self._window > 0 and self._outstanding >= self._window

    def welcome(self, welcome: Welcome, now: float) -> None:
        """Answer a hello. Does nothing once closed. Raises ValueError if there is no hello."""
        if self.closed:
            return
        if self.state is not State.JUDGING:
            raise ValueError(f"nobody to welcome while {self.state}")
        self._send(welcome)
        self.state = State.WELCOMED
        self._handshake_by = now + self.limits.handshake
        self._start_clocks(welcome, now)
        self._session, self._window = welcome.session, welcome.window
        self._reader.limit = min(welcome.frame_limit, self.limits.frame)
        self._offset = self._group_end = welcome.offset
        self._offset_digest = self._digest = welcome.digest
        self._next_seq = welcome.offset + 1
        self._staged = welcome.staged_seq, welcome.staged_digest

    def refuse(self, error: WireError, now: float) -> None:
        """Tell the site why it is not welcome, and close."""
        if self.state in {State.OPENING, State.JUDGING}:
            self._close_with(Refuse.of(error))
        elif not self.closed:
            self._close_with(Error.of(error))

    def consumed(self, size: int, now: float) -> None:
        """`size` bytes of batches have left memory; the site may send as many more.

        Raises ValueError if that is more than came.
        """
        if size > self._outstanding:
            raise ValueError(f"{size} bytes were consumed, {self._outstanding} had come")
        self._consumed += size
        untold = self._consumed - self._told
        if not self.closed and (not self._outstanding or untold * _TELL_CREDIT_AT >= self._window):
            self._ack()

    def applied(self, offset: int, digest: bytes, now: float) -> None:
        """Everything up to `offset` is committed: ack it.

        To be called after the commit, never before. Raises ValueError for what never came.
        """
        if not self._offset <= offset < self._next_seq:
            raise ValueError(f"{offset} is not between {self._offset} and {self._next_seq - 1}")
        self._offset, self._offset_digest = offset, digest
        if not self.closed:
            self._ack()
            self._end_if_drained(now)

    def progress(
        self, seq: int, applied: int, now: float, *, trouble: WireError | None = None
    ) -> None:
        """Tell the site that a long transaction is at record `seq`, the `applied`-th of it.

        `trouble`: why the database refuses it for now.
        """
        if not self.closed:
            code, words = (trouble.code, trouble.words) if trouble else ("", "")
            self._send(Progress(seq, applied, code, words))

    def stop(self, error: WireError, now: float) -> None:
        """Tell the site of an error, and close."""
        if not self.closed:
            self._close_with(Error.of(error))

    def bye(self, reason: str, last_seq: int, retry_after: float, now: float) -> None:
        """Take nothing new. Everything up to `last_seq` is still applied and acked, then the
        session closes; the site is asked to come back after `retry_after` seconds.
        """
        if self.state in {State.OPENING, State.JUDGING}:
            words = f"Central is leaving ({reason})"
            self.refuse(WireError("busy", words, "The site comes back by itself"), now)
        elif self.state in {State.WELCOMED, State.STREAMING, State.LEFT}:
            self._last_to_apply = last_seq
            self._say_bye(Bye(reason, last_seq, retry_after), now)
            self._handshake_by = math.inf
            self.state = State.PARTING if self.state is State.LEFT else State.LEAVING
            self._end_if_drained(now)

    @property
    def _outstanding(self) -> int:
        return self._received - self._consumed

    def _end_session(self, now: float) -> None:
        self.bye("session-deadline", self._group_end, 0, now)

    def _on(self, message: Message, before: State, now: float) -> list[Event]:
        match message:
            case Hello():
                self._handshake_by = math.inf
                return [HelloReceived(message)]
            case Confirm() if before is State.WELCOMED:
                return self._confirmed(message)
            case Records(batch) if before is State.STREAMING:
                return self._batch(batch, now)
            case Confirm() | Records():
                # Sent before the site heard that this end is leaving; it will send it again.
                return []
            case Bye():
                self._handshake_by = math.inf
                self._end_if_drained(now)
                return [PeerClosing(message)]
        raise AssertionError(message)

    def _confirmed(self, confirm: Confirm) -> list[Event]:
        self._handshake_by = math.inf
        resumes = self._offset < self._staged[0] == confirm.first_seq - 1
        if confirm.session != self._session or not (
            resumes or 0 < confirm.first_seq <= self._next_seq
        ):
            raise WireError("bad-message", "A confirm does not fit its welcome")
        seq, digest = self._staged if resumes else (self._offset, self._digest)
        if confirm.digest != digest:
            raise WireError(
                "history-diverged",
                f"The site and central hold different histories up to record {seq}",
                "",
                seq,
            )
        self._next_seq, self._digest = seq + 1, digest
        return [Confirmed(confirm)]

    def _batch(self, batch: Batch, now: float) -> list[Event]:
        if batch.last_seq < self._next_seq:
            # Only a repeat on the way: it costs no credit, as nobody has spent any on it.
            self._answer(now)
            self._ack()
            return []
        if self._outstanding and self._outstanding + batch.size > self._window:
            raise WireError("window-exceeded", "The site sends more than it was granted")
        self._check_chain(batch)
        self._received += batch.size
        self._next_seq, self._digest = batch.last_seq + 1, batch.digest_after
        self._group_end = last_group_end(batch, self._group_end)
        return [BatchReceived(batch, batch.size)]

    def _check_chain(self, batch: Batch) -> None:
        if batch.first_seq > self._next_seq:
            raise WireError(
                "gap",
                f"Record {batch.first_seq} came, {self._next_seq} was to come",
                "The site connects again and sends what is missing",
                self._next_seq,
            )
        # The first one may begin before: whoever applies it compares the digest inside of it.
        follows = batch.first_seq == self._next_seq and batch.digest_before == self._digest
        if not (follows or (batch.first_seq < self._next_seq and not self._received)):
            raise WireError(
                "digest-mismatch",
                f"The batch from {batch.first_seq} on does not continue what came before it",
                "",
                self._next_seq,
            )

    def _ack(self) -> None:
        self._told = self._consumed
        self._send(Ack(self._offset, self._offset_digest, self._window + self._consumed))

    def _end_if_drained(self, now: float) -> None:
        if self.state is State.LEFT and self._offset >= self._group_end:
            self._close_with(Bye("goodbye", self._offset, 0))
        elif self.state is State.PARTING and self._offset >= self._last_to_apply:
            self.state = State.CLOSED
