"""What oplog_send tells the person who runs it: log lines, and on a terminal one live line."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sockstream.exceptions import SockstreamError

from .oplog import store

_SHOW_EVERY = 0.5
_RATE_OVER = 10

log = logging.getLogger("sockstream.sender")


class Report:
    """Plain log lines; a trouble is told once, until it changes or is over.

    `every`: seconds between two calls of `show` that it wants.
    """

    every = math.inf

    def __init__(self) -> None:
        self._told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, words: str) -> None:
        """Something went as it should; a trouble that comes after it is new."""
        self._told = ""
        log.info("%s", words)

    def trouble(self, error: SockstreamError) -> None:
        """Something did not. The service goes on by itself, so the same words come once."""
        if str(error) != self._told:
            self._told = str(error)
            log.warning("%s", error)

    def warn(self, words: str) -> None:
        """Something is right yet, and will not stay so."""
        log.warning("%s", words)

    def show(self, using: str, state: str, acked: int) -> None:
        """How the stream of database `using` stands; called often."""


class LiveReport(Report):
    """One line on the terminal that stands below the log lines: backlog, rate, acked, peer."""

    every = _SHOW_EVERY

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._samples: deque[tuple[float, int]] = deque(maxlen=round(_RATE_OVER / _SHOW_EVERY))
        self._show_at = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, using: str, state: str, acked: int) -> None:
        now = time.monotonic()
        if now < self._show_at:
            return
        self._show_at = now + _SHOW_EVERY
        self._samples.append((now, acked))
        backlog = sum(store.backlog(using))
        line = f"{state} · acked {acked:,} · backlog {backlog:,} · {self._rate():,.0f} records/s"
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def _rate(self) -> float:
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_at - first_at) if last_at > first_at else 0.0
