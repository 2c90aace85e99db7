"""One stream's batches on their way into the database: in order, one thread at a time.

The event loop puts batches in and never waits; a thread of the pool takes several of them into one
transaction, and what came of it goes back to the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from functools import partial
from typing import Protocol

from django.db import Error as DatabaseError

from sockstream.conf import Settings
from sockstream.receiver.applying.applier import Applied, Applier
from sockstream.receiver.applying.faults import Fenced, Retry, Stopped, transient
from sockstream.wire.errors import WireError
from sockstream.wire.records import Batch, last_group_end

from .pool import Pool
from .troubles import Troubles

# How long the beginning of a group may lie here, in memory, before it is staged.
_LINGER = 0.1
# Of a transaction that others wait for. Much less, and its commit is what takes the time.
_SHORT_TURN = 2_000
# In seconds, of a transaction that others wait for, as far as the one before lets us foresee it.
_LONG_TURN = 1.0

logger = logging.getLogger("sockstream.receiver")


class Listener(Protocol):
    """Hears what became of the batches, in the event loop's thread."""

    def on_applied(self, applied: Applied, size: int, batches: int) -> None:
        """A transaction has committed; `size` bytes are free again."""

    def on_trouble(self, error: WireError | None) -> None:
        """The database refuses, and is asked again and again; None: no longer."""

    def on_stopped(self, stopped: Stopped) -> None:
        """A record cannot be applied; it is noted in the database."""

    def on_lost(self, error: WireError) -> None:
        """The link has to end, and the site to send again from the offset."""


class State(Enum):
    """Where a stream is. Only the pool's thread moves it from RUNNING on."""

    IDLE = auto()
    QUEUED = auto()
    RUNNING = auto()
    PAUSED = auto()
    DONE = auto()


class StreamQueue:
    """The queue of one stream between its link and its applier.

    `begin` is run once, in the pool, before the first batch. `window` is how many bytes the site
    may have on the way. `given` is the last seq that the applier got, `written` the last one that
    it is done with: applied, or staged.

    A turn is taken when a group has come to its end. What has come of one that has not ended lies
    here until half of the window is used, or a moment has passed; then the applier begins it, as
    long as more of it comes and nobody else waits, or stages it.
    """

    def __init__(
        self,
        name: str,
        applier: Applier,
        begin: Callable[[], None],
        listener: Listener,
        pool: Pool,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        window: int,
    ) -> None:
        self.name = name
        self.given = 0
        self.written = 0
        self.done: asyncio.Future[None] = loop.create_future()
        self._applier = applier
        self._begin: Callable[[], None] | None = begin
        self._listener = listener
        self._pool = pool
        self._loop = loop
        self._settings = settings
        self._lock = threading.Lock()
        self._state = State.IDLE
        self._ending = False
        self._queue: deque[Batch] = deque()
        self._most_unfinished = window // 2
        self._bytes = 0
        self._ends = 0
        self._ended = 0
        self._lingering = False
        self._rate = 1e6
        self._troubles = Troubles(name, applier, partial(self._tell, listener.on_trouble))

    @property
    def busy(self) -> bool:
        """Whether something is being applied, or waits for it."""
        return self._state in (State.QUEUED, State.RUNNING, State.PAUSED)

    def put(self, batch: Batch) -> None:
        """Queue a batch. Call it in the loop."""
        with self._lock:
            if self._ending:
                return
            self._queue.append(batch)
            self._count(batch)
            ripe = self._ripe
            if ripe:
                self._schedule()
        if not ripe:
            self._linger()

    def _count(self, batch: Batch, sign: int = 1) -> None:
        self._bytes += sign * batch.size
        self._ends += sign * self._has_end(batch)

    def _has_end(self, batch: Batch) -> bool:
        """Whether a group ends in the batch that is not applied yet."""
        return last_group_end(batch, 0) > self._ended

    @property
    def _ripe(self) -> bool:
        return self._ends > 0 or self._bytes >= self._most_unfinished

    def _linger(self) -> None:
        """In the loop: do not wait for the end of the group for long."""
        if not self._lingering:
            self._lingering = True
            self._loop.call_later(_LINGER, self._rested)

    def _rested(self) -> None:
        self._lingering = False
        with self._lock:
            if self._queue:
                self._schedule()

    def end(self) -> None:
        """Finish the transaction at work, drop what is queued; `done` tells when."""
        with self._lock:
            self._ending = True
            self._queue.clear()
            if self._state in (State.RUNNING, State.DONE):
                return
            self._state = State.DONE
        self._finish()

    def start(self) -> None:
        """Let `begin` run now rather than with the first batch."""
        with self._lock:
            self._schedule()

    def _schedule(self) -> None:
        if self._state is State.IDLE and not self._ending:
            self._state = State.QUEUED
            self._pool.take_turn(self._applier.source, self._turn)

    # From here on: in a thread of the pool, but for _resume and _finish.

    def _turn(self) -> None:
        with self._lock:
            if self._state is not State.QUEUED:
                return
            self._state = State.RUNNING
        try:
            self._work()
        except Retry as error:
            self._pool.drop_connection()
            self._pause_or_lose(error)
        except Stopped as stopped:
            self._finish_with(self._listener.on_stopped, stopped)
        except Fenced:
            words = "A newer connection has taken this stream over"
            self._finish_with(self._listener.on_lost, WireError("fenced", words))
        except WireError as error:
            self._finish_with(self._listener.on_lost, error)
        except Exception as error:
            # A bug of ours must not take the thread, and the other streams, with it.
            logger.exception("%s: unexpected error", self.name)
            words = f"Central failed unexpectedly ({type(error).__name__}); its log has more"
            self._finish_with(self._listener.on_lost, WireError("internal", words))

    def _work(self) -> None:
        if self._begin is not None:
            with _transient_as_retry():
                self._begin()
            self._begin = None
        if batches := self._take():
            self._apply(batches)
        self._give_up_turn()

    def _apply(self, batches: list[Batch]) -> None:
        self.given = batches[-1].last_seq
        begun = time.monotonic()
        more = None if self._pool.waiting else partial(self._more, batches)
        try:
            applied = self._applier.apply(batches, more=more, keeps=True)
        except Retry:
            with self._lock:
                self._put_back(batches)
            raise
        self._troubles.over()
        took = time.monotonic() - begun
        self._rate = sum(batch.count for batch in batches) / max(took, 1e-3)
        done = batches[: len(batches) - applied.left]
        with self._lock:
            self._ended = applied.offset
            self._put_back(batches[len(done) :])
        self.written = max(applied.offset, done[-1].last_seq if done else 0)
        size = sum(batch.size for batch in done)
        self._tell(self._listener.on_applied, applied, size, len(done))

    def _take(self) -> list[Batch]:
        """The batches of the next transaction: up to the end of a group if one is here."""
        with self._lock:
            taken = [] if self._ending else self._next()
            while self._ends and taken and not self._has_end(taken[-1]):
                self._put_back([taken.pop()])
            return taken

    def _more(self, batches: list[Batch]) -> list[Batch]:
        """Give the turn, which has `batches`, what has come since it began, unless others wait."""
        with self._lock:
            fresh = [] if self._ending or self._pool.waiting else self._next()
        if fresh:
            batches += fresh
            self.given = batches[-1].last_seq
        return fresh

    def _put_back(self, batches: Sequence[Batch]) -> None:
        self._queue.extendleft(reversed(batches))
        for batch in batches:
            self._count(batch)

    def _next(self) -> list[Batch]:
        taken: list[Batch] = []
        size, count, ends = 0, 0, False
        # The more streams wait, the shorter the turns: each waits for all the others.
        most_bytes, most_records = self._settings.COMMIT_BYTES, self._settings.COMMIT_RECORDS
        share = most_records // (1 + self._pool.waiting)
        most_records = min(most_records, max(share, _SHORT_TURN))
        if self._pool.waiting:
            most_records = min(most_records, round(_LONG_TURN * self._rate))
        while self._queue:
            batch = self._queue[0]
            size, count = size + batch.size, count + batch.count
            if ends and (size > most_bytes or count > most_records):
                break
            taken.append(self._queue.popleft())
            self._count(batch, -1)
            ends = ends or self._has_end(batch)
        return taken

    def _give_up_turn(self) -> None:
        with self._lock:
            if not self._ending:
                self._state = State.QUEUED if self._ripe else State.IDLE
                if self._ripe:
                    self._pool.take_turn(self._applier.source, self._turn, goes_on=True)
                elif self._queue:
                    self._tell(self._linger)
                return
            self._state = State.DONE
        self._tell(self._finish)

    def _pause_or_lose(self, error: Retry) -> None:
        delay = self._troubles.met(error.error)
        with self._lock:
            ending = self._ending
            self._state = State.DONE if ending else State.PAUSED
        if ending:
            self._tell(self._finish)
        else:
            self._tell(self._loop.call_later, delay, self._resume)

    def _resume(self) -> None:
        with self._lock:
            if self._state is State.PAUSED:
                self._state = State.IDLE
                self._schedule()

    def _finish_with(self, tell: Callable[..., None], error: Exception) -> None:
        # Its frames hold the batches, and a link that is over is freed only now and then.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        with self._lock:
            self._state = State.DONE
            self._queue.clear()
        self._tell(tell, error)
        self._tell(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        self._loop.call_soon_threadsafe(function, *args)


@contextmanager
def _transient_as_retry() -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        if (failed := transient(error)) is not None:
            raise Retry(failed) from error
        raise
