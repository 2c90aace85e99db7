"""Looks after one stream at every heartbeat: is its applier stuck?"""

from __future__ import annotations

import logging

from sockstream.conf import Settings

from .queue import StreamQueue

logger = logging.getLogger("sockstream.receiver")


class Pulse:
    """To be asked at each heartbeat. `now` is in seconds of the event loop's clock."""

    def __init__(self, name: str, queue: StreamQueue, settings: Settings, now: float) -> None:
        self._name = name
        self._queue = queue
        self._stuck_after = settings.STUCK_AFTER
        self.moved(now)

    def came(self, now: float) -> None:
        """A batch has come whole; to be called before it is put."""
        if not self._queue.busy:
            self.moved(now)

    def moved(self, now: float) -> None:
        """The applier is done with something, or has something to begin with."""
        self._moved_at, self._alert_after = now, self._stuck_after

    def look(self, now: float) -> None:
        """Alert about a transaction that takes long. It is never cut off: it would only begin
        again.
        """
        if self._queue.busy and now - self._moved_at > self._alert_after:
            words = "%s: the transaction up to %d has been at work for %d seconds"
            logger.warning(words, self._name, self._queue.given, now - self._moved_at)
            self._alert_after *= 2
