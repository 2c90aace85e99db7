"""The bounded pool of threads that use the database for the event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import connections

from sockstream.receiver.dialects import dialect

from .turns import Turns

T = TypeVar("T")
Job = Callable[[], None]

_IDLE = 60.0
_SPARE = 2


class Pool:
    """Runs calls and turns. At most `size` turns are at work at once.

    A *turn* applies one transaction of one stream. A *call* is short (open a stream, look at the
    sources), goes before all turns, and has threads left that no turn may take. On SQLite there is
    one thread only, as there is one writer: waiting for the turn is better than waiting for the
    lock.
    """

    def __init__(self, using: str, size: int) -> None:
        self._using = using
        one_writer = dialect(using).one_writer
        self._size = 1 if one_writer else size
        self._most_threads = 1 if one_writer else size + _SPARE
        self._changed = threading.Condition()
        self._calls: deque[Job] = deque()
        self._turns = Turns(max(1, self._size - 1))
        self._at_work = 0
        self._idle = 0
        self._threads: set[threading.Thread] = set()
        self._closing = False

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` in a thread, before any turn that waits."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function()
            except DatabaseError as error:
                self.drop_connection()
                future.set_exception(error)
            except BaseException as error:  # noqa: BLE001 -- it goes to whoever waits for it
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._changed:
            self._calls.append(job)
            self._wake()
        return future

    def take_turn(self, source: str, turn: Job, *, goes_on: bool = False) -> None:
        """Run `turn`, which may not raise, when its turn has come: see Turns."""
        with self._changed:
            self._turns.put(source, turn, goes_on=goes_on)
            self._wake()

    @property
    def waiting(self) -> int:
        """How many turns wait for a thread."""
        return len(self._turns)

    def drop_connection(self) -> None:
        """In a turn or a call: the database failed, so the next one begins with a new connection.

        One that still answers may be of no use. A session that began while the database was
        read-only, say, stays so.
        """
        connections[self._using].close()

    def close(self) -> None:
        """Finish what is queued, end the threads, and wait for them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _wake(self) -> None:
        ready = len(self._calls) + min(len(self._turns), max(0, self._size - self._at_work))
        if self._idle < ready and len(self._threads) < self._most_threads:
            name = f"applier-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.add(thread)
            thread.start()
        self._changed.notify()

    def _work(self) -> None:
        connection = connections[self._using]
        try:
            while (taken := self._take()) is not None:
                source, job = taken
                try:
                    self._refresh()
                    job()
                finally:
                    if source is not None:
                        self._leave(source)
        finally:
            connection.close()

    def _take(self) -> tuple[str | None, Job] | None:
        """The next job, and whose turn it is, if it is one; None when this thread is not needed
        any more.
        """
        expired = False
        with self._changed:
            self._idle += 1
            try:
                while True:
                    if self._calls:
                        return None, self._calls.popleft()
                    if self._at_work < self._size and (taken := self._turns.take()) is not None:
                        self._at_work += 1
                        return taken
                    if self._closing or expired:
                        self._threads.discard(threading.current_thread())
                        return None
                    # A word that came as the time was over is lost: look once more before going.
                    expired = not self._changed.wait(_IDLE)
            finally:
                self._idle -= 1

    def _leave(self, source: str) -> None:
        with self._changed:
            self._at_work -= 1
            self._turns.end(source)
            self._changed.notify()

    def _refresh(self) -> None:
        """Drop a connection that broke or is too old.

        A maximal age of 0, Django's default, means "a request" there; here the thread's idling.
        """
        connection = connections[self._using]
        aged = bool(connection.settings_dict.get("CONN_MAX_AGE"))
        if connection.errors_occurred or aged:
            connection.close_if_unusable_or_obsolete()
