"""Log lines for refused connections: the first at once, repeats counted, none forgotten."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

_QUIET = 60.0
_REMEMBERED = 1_000

logger = logging.getLogger("sockstream.receiver")


@dataclass
class _Seen:
    at: float
    repeats: int = 0


class Refusals:
    """Says why a connection was refused, once a minute for the same address and reason.

    What was not said in between is said as a number. `now` is in seconds of any steady clock.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def note(self, host: str, peer: str, reason: str, now: float) -> None:
        """Log that `peer` (of the address `host`) was refused for `reason`, or count it."""
        known = self._seen.get((host, reason))
        if known is not None and now - known.at < _QUIET:
            known.repeats += 1
            return
        if known is not None:
            self._say_repeats(host, reason, known)
        logger.warning("Refused %s: %s", peer, reason)
        self._seen[host, reason] = _Seen(now)
        if len(self._seen) > _REMEMBERED:
            (host, reason), oldest = self._seen.popitem(last=False)
            self._say_repeats(host, reason, oldest)

    def flush(self, now: float) -> None:
        """Say the repeats whose minute is over."""
        over = [key for key, seen in self._seen.items() if now - seen.at >= _QUIET]
        for host, reason in over:
            self._say_repeats(host, reason, self._seen.pop((host, reason)))

    def _say_repeats(self, host: str, reason: str, seen: _Seen) -> None:
        if seen.repeats:
            logger.warning("Refused %s %d times more: %s", host, seen.repeats, reason)
            seen.repeats = 0
