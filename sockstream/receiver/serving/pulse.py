"""Looks after one stream at every heartbeat: is it stuck, has its site left a group open?"""

from __future__ import annotations

import logging

from ...wire.errors import WireError
from .streams import StreamQueue

STUCK = 60.0
# After so many heartbeats with fewer bytes than this, which pings alone bring, a group is left.
STARVED = 6
PINGS = 512

logger = logging.getLogger("sockstream.receiver")


class Pulse:
    """`now` is in seconds of the event loop's clock, `heartbeat` is how far two looks are apart."""

    def __init__(self, name: str, queue: StreamQueue, heartbeat: float, now: float) -> None:
        self._name = name
        self._queue = queue
        self._heartbeat = heartbeat
        self._moved_at = now
        self._alert_after = STUCK
        self._received = 0
        self._starved = 0

    def received(self, size: int) -> None:
        """Bytes have come from the site."""
        self._received += size

    def came(self, now: float) -> None:
        """A batch has come whole; to be called before it is put."""
        self._starved = 0
        if not self._queue.busy:
            self.moved(now)

    def moved(self, now: float) -> None:
        """The applier is done with something, or has something to begin with."""
        self._moved_at, self._alert_after = now, STUCK

    def look(self, now: float) -> WireError | None:
        """Alert about a transaction that takes long. Returns why the link has to end, if it has.

        A transaction that is at work is never cut off: it would only begin again.
        """
        starved = self._queue.waiting and self._received < PINGS
        self._starved = self._starved + 1 if starved else 0
        self._received = 0
        if self._starved >= STARVED:
            # Its transaction holds locks in the database, and everybody's on SQLite.
            seconds = self._starved * self._heartbeat
            return WireError("silence", f"The rest of a group has not come for {seconds:g} seconds")
        if self._queue.busy and now - self._moved_at > self._alert_after:
            words = "%s: the transaction up to %d has been at work for %d seconds"
            logger.warning(words, self._name, self._queue.given, now - self._moved_at)
            self._alert_after *= 2
        return None
