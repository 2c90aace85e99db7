"""The turns that wait for a thread, in the order in which they are taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

Turn = Callable[[], None]


class Turns:
    """Two queues: of streams that had nothing to do before, and of those that go on.

    They are taken from alternately, each first in, first out. So a site that writes now and then
    waits for one transaction of a backlog, however many sites have one, and neither kind keeps the
    other one out. After the new and old flows of FQ-CoDel (RFC 8290, section 4.2).
    """

    def __init__(self) -> None:
        self._new: deque[Turn] = deque()
        self._old: deque[Turn] = deque()
        self._last = self._old

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def put(self, turn: Turn, *, goes_on: bool) -> None:
        """`goes_on`: it follows the last turn of its stream without a pause."""
        (self._old if goes_on else self._new).append(turn)

    def take(self) -> Turn:
        """The next one. Raises IndexError if there is none."""
        other = self._new if self._last is self._old else self._old
        self._last = other or self._last
        return self._last.popleft()
