"""The turns that wait for a thread, in the order in which they are taken."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

Turn = Callable[[], None]


class Turns:
    """Two queues: of streams that had nothing to do before, and of those that go on.

    They are taken from alternately, each first in, first out. So a site that writes now and then
    waits for one transaction of a backlog, however many sites have one, and neither kind keeps the
    other one out. After the new and old flows of FQ-CoDel (RFC 8290, section 4.2).

    Of one source, at most `most` turns are at work. A turn cannot be stopped, so that a source
    whose transactions take long, on all its streams, would keep everybody waiting otherwise.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._new: deque[tuple[str, Turn]] = deque()
        self._old: deque[tuple[str, Turn]] = deque()
        self._last = self._old
        self._at_work: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def put(self, source: str, turn: Turn, *, goes_on: bool) -> None:
        """`goes_on`: it follows the last turn of its stream without a pause."""
        (self._old if goes_on else self._new).append((source, turn))

    def take(self) -> tuple[str, Turn] | None:
        """The next one, which is at work until its source is given to `end`; None if there is none
        that may be.
        """
        other = self._new if self._last is self._old else self._old
        for queue in (other, self._last):
            for at, (source, turn) in enumerate(queue):
                if self._at_work[source] < self._most:
                    del queue[at]
                    self._last = queue
                    self._at_work[source] += 1
                    return source, turn
        return None

    def end(self, source: str) -> None:
        """A turn of the source is not at work any more."""
        self._at_work[source] -= 1
        self._at_work += Counter()  # drops those with none
