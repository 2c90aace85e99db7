"""Log lines for refused connections: the first at once, repeats counted, none forgotten."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from sockstream.exceptions import SockstreamError

_QUIET = 60.0
_REMEMBERED = 1_000
# Of one address within a minute: lines in all, lines of one code, and codes that are told apart.
_LINES = 8
_OF_CODE = 3
_CODES = 8

logger = logging.getLogger("sockstream.receiver")


@dataclass
class _Host:
    """What was said of an address since `since`, by code and words; what was only counted."""

    since: float
    said: set[tuple[str, int]] = field(default_factory=set)
    repeats: Counter[str] = field(default_factory=Counter)

    def says(self, code: str, words: str) -> bool:
        """Whether this deserves a line; it is counted otherwise."""
        reason = code, hash(words)
        of_code = sum(1 for known, _ in self.said if known == code)
        if reason not in self.said and of_code < _OF_CODE and len(self.said) < _LINES:
            self.said.add(reason)
            return True
        self.repeats[code if code in self.repeats or len(self.repeats) < _CODES else "..."] += 1
        return False


class Refusals:
    """Says why a connection was refused: once a minute for the same address, code and words.

    One code has several reasons, and several sites may share an address, so a few words of one
    code are said. Code and words may be the peer's own, so no address has more than some lines a
    minute. What was not said in between is said as a number. `now` is in seconds of any steady
    clock.
    """

    def __init__(self) -> None:
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def note(self, host: str, peer: str, error: SockstreamError, now: float) -> None:
        """Log why `peer`, whose address is `host`, was refused, or count it."""
        known = self._hosts.get(host)
        if known is None or now - known.since >= _QUIET:
            if known is not None:
                self._say_repeats(host, known)
            known = self._hosts[host] = _Host(now)
        if known.says(error.code, str(error).replace(peer, host)):
            logger.warning("Refused %s: %s", peer, error)
        if len(self._hosts) > _REMEMBERED:
            self._say_repeats(*self._hosts.popitem(last=False))

    def flush(self, now: float) -> None:
        """Say the repeats whose minute is over."""
        over = [host for host, known in self._hosts.items() if now - known.since >= _QUIET]
        for host in over:
            self._say_repeats(host, self._hosts.pop(host))

    def _say_repeats(self, host: str, known: _Host) -> None:
        if count := known.repeats.total():
            codes = ", ".join(known.repeats)
            logger.warning("Refused %s %d times more: %s", host, count, codes)
