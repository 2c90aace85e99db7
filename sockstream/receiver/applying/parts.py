"""Records as they are written: parts of batches, and runs of parts that have one net effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...wire.records import BEGIN, Layout
from .plans import Header


@dataclass(frozen=True)
class Part:
    """Records of one batch with consecutive sequence numbers."""

    header: Header
    first_seq: int
    records: Sequence[Sequence[Any]]

    @cached_property
    def layouts(self) -> dict[str, set[int]]:
        """The models that the records are of, with the indexes of their layouts."""
        found: dict[str, set[int]] = {}
        for index in {record[1] for record in self.records}:
            found.setdefault(self.header.layout(index).label, set()).add(index)
        return found

    @cached_property
    def has_marks(self) -> bool:
        """Whether a snapshot begins or ends among the records."""
        return any(record[0] >= BEGIN for record in self.records)

    def slice(self, start: int, end: int) -> Part:
        """Some of the records."""
        return Part(self.header, self.first_seq + start, self.records[start:end])


def runs(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """The parts, cut where a model's layout changes: a net effect needs one layout a model."""
    run: list[Part] = []
    layouts: dict[str, Layout] = {}
    for part in _pure(parts):
        if part.has_marks:
            yield from ([run] if run else [])
            yield [part]
            run, layouts = [], {}
            continue
        here = {label: part.header.layout(min(ids)) for label, ids in part.layouts.items()}
        if any(layouts.get(label, layout) != layout for label, layout in here.items()):
            yield run
            run, layouts = [], {}
        run.append(part)
        layouts.update(here)
    if run:
        yield run


def _pure(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts; by records those with two layouts of a model, after a migration at the site, and
    those with marks."""
    for part in parts:
        if part.has_marks or any(len(indexes) > 1 for indexes in part.layouts.values()):
            yield from (part.slice(at, at + 1) for at in range(len(part.records)))
        else:
            yield part
