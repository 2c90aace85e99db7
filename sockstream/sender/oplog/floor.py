"""The floor: below it no captured row will ever be seen.

PostgreSQL keeps the dead rows of the capture table while anybody has an older snapshot, and a pass
that begins at the lowest id reads them all. But rows are not seen in the order of their ids. So the
floor is raised to an id once every transaction that may have drawn a lower one is over, and a pass
that began after that has taken what they left.
"""

from __future__ import annotations

from collections.abc import Set

from .writers import writers

_STEP = 2_000


class Floor:
    """The floor of one capture table, on PostgreSQL; `id` is the highest id below it."""

    def __init__(self, using: str) -> None:
        self.id = 0
        self._using = using
        self._next: int | None = None
        self._late: Set[str] | None = None

    def before_pass(self) -> None:
        """To be called before the pass takes its snapshot."""
        if self._next is not None:
            now = writers(self._using).keys()
            self._late = now if self._late is None else self._late & now

    def after_pass(self, end: int, *, more: bool) -> None:
        """A pass took everything up to `end`, or, if there is not `more`, all that it saw."""
        if self._next is not None and not self._late and not (more and end < self._next):
            self.id, self._next, self._late = self._next, None, None
        if self._next is None and end > self.id + _STEP:
            self._next = end

    def reset(self) -> None:
        """Something is below the floor after all: the ids have begun anew."""
        self.id, self._next, self._late = 0, None, None
