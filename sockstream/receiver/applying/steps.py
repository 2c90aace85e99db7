"""Batches taken apart: the segments that the applier writes, and the groups that they form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...wire import records
from ...wire.records import Batch, Layout
from .parts import Part
from .plans import Header, Models

_HEADERS = 256


@dataclass(frozen=True, slots=True)
class Step:
    """A segment: its records, and where the stream stands before and after them."""

    part: Part
    last_seq: int
    digest_before: bytes
    digest_after: bytes
    ends_group: bool
    cut: bool = False

    @property
    def first_seq(self) -> int:
        return self.part.first_seq


class Headers:
    """The compiled headers of a stream, by their bytes; a bounded number of them."""

    def __init__(self, allowed: Models, using: str) -> None:
        self._allowed = allowed
        self._using = using
        self._known: dict[bytes, Header] = {}

    def get(self, header: bytes, layouts: Sequence[Layout]) -> Header:
        """The compiled form of a header that holds these layouts."""
        known = self._known.get(header)
        if known is None:
            if len(self._known) >= _HEADERS:
                self._known.clear()
            known = self._known[header] = Header(layouts, self._allowed, self._using)
        return known


def steps(batches: Iterable[Batch], headers: Headers) -> list[Step]:
    """The segments of the batches. Raises WireError if a batch is malformed."""
    found: list[Step] = []
    for batch in batches:
        before = batch.digest_before
        for segment in records.segments(batch):
            header = headers.get(batch.header, segment.layouts)
            found.append(
                Step(
                    Part(header, segment.first_seq, segment.records),
                    segment.last_seq,
                    before,
                    segment.digest_after,
                    segment.ends_group,
                    segment.cut,
                )
            )
            before = segment.digest_after
    return found


def groups(coming: Sequence[Step]) -> tuple[list[Sequence[Step]], Sequence[Step]]:
    """The whole groups, and the steps after them: their group goes on later, or may have to."""
    whole: list[Sequence[Step]] = []
    start = 0
    for end, step in enumerate(coming, 1):
        if step.ends_group and not step.cut:
            whole.append(coming[start:end])
            start = end
    return whole, coming[start:]
