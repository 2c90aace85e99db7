"""One site's link: what its messages mean, and what it is answered."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, Self

from sockstream import tls
from sockstream.conf import Settings
from sockstream.exceptions import printable
from sockstream.receiver.applying.applier import Applied
from sockstream.receiver.applying.faults import Stopped
from sockstream.receiver.streams.holders import Holders
from sockstream.receiver.streams.offsets import Opened
from sockstream.receiver.streams.pulse import Pulse
from sockstream.receiver.streams.queue import StreamQueue
from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Hello, Welcome
from sockstream.wire.receiving import (
    BatchReceived,
    Confirmed,
    Event,
    Failed,
    HelloReceived,
    PeerClosing,
    ReceivingSession,
)
from sockstream.wire.records import Batch

from .admission import Windows

_ANSWER = "goodbye"
"""What a site says to our own bye: no reason of its own."""

_LONGEST_NAME = 100
_LONGEST_REASON = 200

logger = logging.getLogger("sockstream.receiver")


class Channel(Protocol):
    """The connection below a link. `started`: in seconds of the event loop's clock."""

    started: float
    own_not_after: datetime

    @property
    def peer(self) -> str:
        """The other end's address, for people."""

    def met(self) -> None:
        """The peer has said hello."""

    def refused(self, error: WireError) -> None:
        """Log why the peer is sent away."""

    def send(self, data: bytes) -> None:
        """Send plain bytes to the peer."""

    def close(self) -> None:
        """Send what is queued, and close."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What central offers to each link."""

    central: str
    settings: Settings
    limits: Limits
    windows: Windows

    @classmethod
    def of(cls, settings: Settings, central: str) -> Self:
        """Those that the settings say; `central` is the name of this end."""
        limits = Limits(
            frame=settings.MAX_FRAME,
            window=settings.WINDOW,
            heartbeat=settings.HEARTBEAT,
            handshake=settings.HANDSHAKE_TIMEOUT,
        )
        return cls(central, settings, limits, Windows(settings.WINDOW, settings.WINDOW_TOTAL))


class Link:
    """Drives a ReceivingSession: its events go to the stream's queue, what comes of them back.

    Lives in the event loop's thread, and never waits there. `over` is done when nothing of this
    link is at work in the database any more.
    """

    def __init__(self, holders: Holders, channel: Channel, peer: tls.Peer, terms: Terms) -> None:
        self.peer = peer
        self.stream = ""
        self.offset = 0
        self.loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self.loop.create_future()
        self._holders = holders
        self._channel = channel
        self._terms = terms
        self._session = ReceivingSession(terms.limits, channel.started)
        self._opened: Opened | None = None
        self._queue: StreamQueue | None = None
        self._opening: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None
        self._trouble: WireError | None = None
        self._refusing: WireError | None = None
        self._window = 0
        self._staged = 0
        self._pulse: Pulse | None = None
        self._goodbye = "the session is over"
        self._leaving = False
        self._closed = False
        self._ticking: asyncio.TimerHandle | None = None
        self._beating: asyncio.TimerHandle | None = None
        self._set_clock()

    @property
    def address(self) -> str:
        """Where the site connected from."""
        return self._channel.peer

    @property
    def name(self) -> str:
        return f"{self.peer.name}/{self.stream}" if self.stream else self.peer.name

    # What comes from the connection.

    def receive(self, data: bytes) -> None:
        """Plain bytes have arrived."""
        self._handle(self._session.receive(data, self.loop.time()))

    def receive_eof(self) -> None:
        """The site will send nothing more."""
        self._handle(self._session.receive_eof(self.loop.time()))
        self._end("the site ended the connection")

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._end(f"connection lost: {error}" if error else "connection closed")

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if self._closed:
                return
            match event:
                case HelloReceived(hello):
                    self._channel.met()
                    self._opening = self.loop.create_task(self._open(hello))
                case Confirmed():
                    self._start()
                case BatchReceived(batch):
                    self._put(batch)
                case PeerClosing(bye) if bye.reason != _ANSWER:
                    self._goodbye = f"the site said bye ({printable(bye.reason, _LONGEST_REASON)})"
                case Failed(error):
                    self._broken(error)
        self.pass_on()

    def _put(self, batch: Batch) -> None:
        assert self._queue is not None
        assert self._pulse is not None
        self._pulse.came(self.loop.time())
        self._queue.put(batch)

    def _broken(self, error: WireError) -> None:
        """The peer broke the protocol or is silent, or has told us of an error of its own."""
        if self._opened is None:
            self._channel.refused(error)
        self._trouble = error
        self._end(f"{error.code}: {error}")

    def pass_on(self) -> None:
        """Hand what the session has to say to the connection, and set the clock anew."""
        if self._closed:
            return
        self._channel.send(self._session.data_to_send())
        if self._session.closed:
            self._end(self._goodbye)
        else:
            self._set_clock()

    # The handshake.

    async def _open(self, hello: Hello) -> None:
        try:
            self.stream = _checked_name(hello.stream)
            opened = await self._holders.open(self, hello)
        except WireError as error:
            self._refuse(error)
        except Exception as error:
            logger.exception("%s: unexpected error", self.name)
            words = f"Central failed unexpectedly ({type(error).__name__}); its log has more"
            self._refuse(WireError("internal", words))
        else:
            if not self._closed:
                self._welcome(hello, opened)

    def _refuse(self, error: WireError) -> None:
        if not self._closed:
            self._channel.refused(error)
            self._session.refuse(error, self.loop.time())
            self._close()

    def _welcome(self, hello: Hello, opened: Opened) -> None:
        now, lasts = self.loop.time(), self._seconds_left()
        self.offset, self._opened = opened.offset, opened
        self._window = self._terms.windows.take()
        self._queue = self._holders.queue(self, opened, self._window)
        welcome = Welcome(
            protocol=opened.protocol,
            central=self._terms.central,
            session=opened.session,
            offset=opened.offset,
            digest=opened.digest,
            window=self._window,
            frame_limit=min(hello.frame_limit, self._terms.limits.frame),
            codec="zlib" if "zlib" in hello.codecs else "",
            heartbeat=self._terms.limits.heartbeat,
            session_deadline=lasts,
            schema_verdict=opened.schema_verdict,
            staged_seq=opened.staged_seq,
            staged_digest=opened.staged_digest,
        )
        if opened.warning is not None:
            logger.warning("%s: %s", self.name, opened.warning)
        self._session.welcome(welcome, now)
        self._beating = self.loop.call_later(welcome.heartbeat, self._beat)
        self.pass_on()

    def _seconds_left(self) -> float:
        ends = min(self.peer.not_after, self._channel.own_not_after)
        left = (ends - datetime.now(UTC)).total_seconds()
        # 0 would mean a session without an end.
        return max(0.001, min(left, self._terms.settings.SESSION_MAX))

    def _start(self) -> None:
        assert self._queue is not None
        self._pulse = Pulse(self.name, self._queue, self._terms.settings, self.loop.time())
        self._queue.start()
        words = "%s: connected from %s, goes on after %d"
        logger.info(words, self.name, self.address, self.offset)

    # What becomes of the batches.

    def on_applied(self, applied: Applied, size: int, batches: int) -> None:
        now = self.loop.time()
        if self._pulse is not None:
            self._pulse.moved(now)
        words = "%s: applied up to %d (%d records, and %d staged, in %d batches)"
        counts = applied.records, applied.staged, batches
        logger.debug(words, self.name, applied.offset, *counts)
        if not self._closed:
            self._session.consumed(size, now)
        self._staged = applied.staged
        if applied.offset > self.offset or not applied.staged:
            self._committed(applied, now)
        self.pass_on()

    def _committed(self, applied: Applied, now: float) -> None:
        self.offset = applied.offset
        self._holders.applied(self, applied.offset)
        if not self._closed:
            self._session.applied(applied.offset, applied.digest, now)

    def on_trouble(self, error: WireError | None) -> None:
        self._refusing = error
        self._tell_progress(self.loop.time())

    def _tell_progress(self, now: float) -> None:
        assert self._queue is not None
        if not self._closed:
            done = max(self._queue.written, self.offset)
            self._session.progress(done, done - self.offset, now, trouble=self._refusing)
            self.pass_on()

    def on_stopped(self, stopped: Stopped) -> None:
        words, error = "%s: stopped at %d (%s, key %s): %s", stopped.error
        logger.error(words, self.name, stopped.seq, error.model, error.key, error)
        if not self._closed:
            self._session.stop(stopped.error, self.loop.time())
            self._end("stopped")

    def on_lost(self, error: WireError) -> None:
        self.fail(error, str(error))

    # The end.

    def leave(self, reason: str, retry_after: float) -> None:
        """Finish the transaction at work, ack it, say bye, and close."""
        if self._closed or self._leaving:
            return
        self._leaving = True
        if self._queue is None:
            self._say_bye(reason, retry_after)
        else:
            self._queue.end()
            self._queue.done.add_done_callback(lambda _: self._say_bye(reason, retry_after))

    def _say_bye(self, reason: str, retry_after: float) -> None:
        if not self._closed:
            self._goodbye = f"told to come back ({reason})"
            self._session.bye(reason, self.offset, retry_after, self.loop.time())
            self.pass_on()

    async def idle(self) -> None:
        """Wait until nothing is being applied any more."""
        if self._queue is not None:
            await self._queue.done

    def abandon(self) -> None:
        """Wait no longer for the site's goodbye."""
        self._end(self._goodbye)

    def fail(self, error: WireError, reason: str) -> None:
        """Tell the site what is wrong, and close."""
        if not self._closed:
            if self._opened is None:
                self._channel.refused(error)
            self._trouble = error
            self._session.stop(error, self.loop.time())
            self._end(reason)

    def _end(self, reason: str) -> None:
        if not self._closed:
            if self._opened is not None:
                lasting = self._trouble is not None and self._trouble.lasting
                level = logging.WARNING if lasting else logging.INFO
                words = "%s: gone: %s; applied up to %d"
                logger.log(level, words, self.name, reason, self.offset)
            self._close()

    def _close(self) -> None:
        self._closed = True
        for timer in (self._ticking, self._beating):
            if timer is not None:
                timer.cancel()
        self._channel.send(self._session.data_to_send())
        self._channel.close()
        self._finishing = self.loop.create_task(self._finish())

    async def _finish(self) -> None:
        """Wait for whatever of this link is at work; then the stream is free for another one."""
        try:
            if self._opening is not None and self._opening is not asyncio.current_task():
                await asyncio.wait([self._opening])
            if self._queue is not None:
                self._queue.end()
                await self._queue.done
            if self._opened is not None:
                self._terms.windows.give_back(self._window)
                await self._holders.close(self._opened, self._trouble)
        finally:
            self._holders.leave(self)
            self.over.set_result(None)

    # Time.

    def _tick(self) -> None:
        self._handle(self._session.tick(self.loop.time()))

    def _set_clock(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        if self._session.deadline < math.inf:
            self._ticking = self.loop.call_at(self._session.deadline, self._tick)

    def _beat(self) -> None:
        """Say how far a long transaction is, so that the site knows that its silence is work."""
        self._beating = self.loop.call_later(self._terms.limits.heartbeat, self._beat)
        now = self.loop.time()
        if self._queue is None or self._pulse is None:
            return
        if self._queue.busy or self._staged:
            self._tell_progress(now)
        self._pulse.look(now)


def _checked_name(stream: str) -> str:
    """The name of a stream, as it may stand in the database and in log lines."""
    if not stream or len(stream) > _LONGEST_NAME or not stream.isprintable():
        raise WireError("bad-message", f"{stream[:_LONGEST_NAME]!r} is no name for a stream")
    return stream
