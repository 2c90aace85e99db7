"""When to try again: exponential with full jitter, so that a thousand sites don't return at once.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Delays in seconds: uniform in [0, 1], [0, 2], [0, 4] ... up to [0, `longest`]."""

    def __init__(
        self,
        longest: float,
        shortest: float = 1.0,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.longest = longest
        self.shortest = shortest
        self._draw = draw
        self._failures = 0

    def next(self) -> float:
        """The seconds to wait after one more failure."""
        ceiling = min(self.longest, self.shortest * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._draw(0.0, ceiling)

    def reset(self) -> None:
        """After the first ack (a connection alone proves nothing)."""
        self._failures = 0
