"""A group that is applied while the rest of it comes: as fast as it comes, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sockstream.wire.records import Batch

from .parts import Step, chunks, end_of_group

# The batches that have come since the last call; empty if there are none. It must not wait.
More = Callable[[], Sequence[Batch]]


class Dry(Exception):
    """The group has not ended, and nothing more of it is here: a transaction would have to wait."""


class Flow:
    """The chunks of one group, from its first steps to its end; `more` asks for those in between.

    `group` is what was taken of it so far, `rest` what came after it.
    """

    def __init__(self, coming: Sequence[Step], more: Callable[[], Iterable[Step]]) -> None:
        self.group = list(coming)
        self.rest: Sequence[Step] = ()
        self._more = more

    def __iter__(self) -> Iterator[list[Step]]:
        """Raises Dry."""
        given = 0
        while True:
            yield from chunks(self.group[given:])
            if self.group[-1].ends_group:
                return
            given = len(self.group)
            fresh = list(self._more())
            if not fresh:
                raise Dry
            width = end_of_group(fresh) or len(fresh)
            self.group += fresh[:width]
            self.rest = fresh[width:]
