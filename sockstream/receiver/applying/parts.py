"""Batches taken apart: parts of records with one header, the steps and groups that they form, and
runs of parts that have one net effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import models

from sockstream.exceptions import Refusal
from sockstream.wire import records
from sockstream.wire.records import BEGIN, Batch, Layout

from .plans import Plan, compile_plan

_HEADERS = 256

Models = Mapping[str, type[models.Model]]


class Header:
    """The plans of one batch header. A plan is made when a record asks for it."""

    def __init__(self, layouts: Sequence[Layout], allowed: Models, using: str) -> None:
        self._layouts = layouts
        self._allowed = allowed
        self._using = using
        self._plans: dict[int, Plan] = {}

    def layout(self, index: int) -> Layout:
        """A layout of the header, whether central takes it or not."""
        return self._layouts[index]

    def plan(self, index: int) -> Plan:
        """The plan of a layout. Raises Refusal if central can't write such records."""
        if index not in self._plans:
            layout = self._layouts[index]
            model = self._allowed.get(layout.label)
            if model is None:
                raise Refusal(
                    "model-not-allowed",
                    f"Central does not take records of {layout.label}",
                    "Add it to SOCKSTREAM['MODELS'] of central, or take it from that of the site",
                )
            self._plans[index] = compile_plan(self._using, model, layout)
        return self._plans[index]


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
