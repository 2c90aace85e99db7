"""Looks after one stream at every heartbeat: is it stuck, has its site left a group open?"""

from __future__ import annotations

import logging

from sockstream.conf import Settings
from sockstream.wire.errors import WireError

from .queue import StreamQueue

# A heartbeat with fewer bytes than this, which pings alone bring, is one without records.
PINGS = 512

logger = logging.getLogger("sockstream.receiver")


class Pulse:
    """To be asked at each heartbeat. `now` is in seconds of the event loop's clock."""

    def __init__(self, name: str, queue: StreamQueue, settings: Settings, now: float) -> None:
        self._name = name
        self._queue = queue
        self._settings = settings
        self._moved_at = now
        self._alert_after = settings.STUCK_AFTER
        self._received = 0
        self._fed_at = now

    def received(self, size: int) -> None:
        """Bytes have come from the site."""
        self._received += size

    def came(self, now: float) -> None:
        """A batch has come whole; to be called before it is put."""
        self._fed_at = now
        if not self._queue.busy:
            self.moved(now)

    def moved(self, now: float) -> None:
        """The applier is done with something, or has something to begin with."""
        self._moved_at, self._alert_after = now, self._settings.STUCK_AFTER

    def look(self, now: float) -> WireError | None:
        """Alert about a transaction that takes long. Returns why the link has to end, if it has.

        A transaction that is at work is never cut off: it would only begin again.
        """
        if not self._queue.waiting or self._received >= PINGS:
            self._fed_at = now
        self._received = 0
        if now - self._fed_at >= self._settings.GROUP_TIMEOUT:
            # Its transaction holds locks in the database, and everybody's on SQLite.
            seconds = now - self._fed_at
            return WireError("silence", f"The rest of a group has not come for {seconds:.0f} s")
        if self._queue.busy and now - self._moved_at > self._alert_after:
            words = "%s: the transaction up to %d has been at work for %d seconds"
            logger.warning(words, self._name, self._queue.given, now - self._moved_at)
            self._alert_after *= 2
        return None
