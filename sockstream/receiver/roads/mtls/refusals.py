"""Log lines for refused connections: the first at once, repeats counted, none forgotten."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

from sockstream.exceptions import SockstreamError

_QUIET = 60.0
_REMEMBERED = 1_000

logger = logging.getLogger("sockstream.receiver")


@dataclass
class _Seen:
    code: str
    at: float
    repeats: int = 0


class Refusals:
    """Says why a connection was refused, once a minute for the same address and words.

    One code has several reasons, and several sites may share an address. What was not said in
    between is said as a number. `now` is in seconds of any steady clock.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def note(self, host: str, peer: str, error: SockstreamError, now: float) -> None:
        """Log why `peer`, whose address is `host`, was refused, or count it."""
        key = host, str(error).replace(peer, host)
        known = self._seen.get(key)
        if known is not None and now - known.at < _QUIET:
            known.repeats += 1
            return
        if known is not None:
            self._say_repeats(host, known)
        logger.warning("Refused %s: %s", peer, error)
        self._seen[key] = _Seen(error.code, now)
        if len(self._seen) > _REMEMBERED:
            (host, _), oldest = self._seen.popitem(last=False)
            self._say_repeats(host, oldest)

    def flush(self, now: float) -> None:
        """Say the repeats whose minute is over."""
        over = [key for key, seen in self._seen.items() if now - seen.at >= _QUIET]
        for key in over:
            self._say_repeats(key[0], self._seen.pop(key))

    def _say_repeats(self, host: str, seen: _Seen) -> None:
        if seen.repeats:
            logger.warning("Refused %s %d times more: %s", host, seen.repeats, seen.code)
            seen.repeats = 0
