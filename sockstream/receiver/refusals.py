"""Log lines for refused connections: the first at once, repeats counted, none forgotten."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

from ..exceptions import SockstreamError
from ..wire.errors import WireError

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

    def note(self, host: str, peer: str, error: SockstreamError | WireError, now: float) -> None:
        """Log why `peer`, whose address is `host`, was refused, or count it."""
        known = self._seen.get((host, error.code))
        if known is not None and now - known.at < _QUIET:
            known.repeats += 1
            return
        if known is not None:
            self._say_repeats(host, error.code, known)
        logger.warning("Refused %s: %s", peer, error)
        self._seen[host, error.code] = _Seen(now)
        if len(self._seen) > _REMEMBERED:
            (host, code), oldest = self._seen.popitem(last=False)
            self._say_repeats(host, code, oldest)

    def flush(self, now: float) -> None:
        """Say the repeats whose minute is over."""
        over = [key for key, seen in self._seen.items() if now - seen.at >= _QUIET]
        for host, code in over:
            self._say_repeats(host, code, self._seen.pop((host, code)))

    def _say_repeats(self, host: str, code: str, seen: _Seen) -> None:
        if seen.repeats:
            logger.warning("Refused %s %d times more: %s", host, seen.repeats, code)
            seen.repeats = 0
