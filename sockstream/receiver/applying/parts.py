"""Batches taken apart: parts of records with one header, the steps and groups that they form, and
runs of parts that have one net effect.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Any

from django.db import models

from sockstream.conf import Settings
from sockstream.exceptions import Refusal
from sockstream.rows import captured_models
from sockstream.wire import records
from sockstream.wire.records import BEGIN, END, LOAD, Batch, EncodedSegment, Layout

from .plans import Plan, compile_plan

# Larger chunks come to less: the same row is written in many records of a large transaction.
CHUNK_RECORDS = 20_000
CHUNK_BYTES = 16 << 20
# Of what the values of a chunk hold: lists and dicts take up to sixty times their bytes.
CHUNK_NESTED = 1 << 20
# All the headers that are kept together, and about what a layout with its plan takes, in bytes.
_KEPT = 16 << 20
_OF_LAYOUT = 12 << 10
_OF_NAME = 250

Models = Mapping[str, type[models.Model]]


def allowed_models(own: Settings) -> Models:
    """The models that central's settings let sites write, by their labels."""
    return {model._meta.label_lower: model for model in captured_models(own)}


class Header(records.Header):
    """A batch's header, compiled: its layouts' plans. One is made when a record asks for it."""

    def __init__(self, layouts: Sequence[Layout], allowed: Models, using: str) -> None:
        super().__init__(layouts)
        self._allowed = allowed
        self._using = using
        self._plans: dict[int, Plan] = {}

    def layout(self, index: int) -> Layout:
        """A layout of the header, whether central takes it or not."""
        return self.layouts[index]

    def plan(self, index: int) -> Plan:
        """The plan of a layout. Raises Refusal if central can't write such records."""
        if index not in self._plans:
            layout = self.layouts[index]
            model = self._allowed.get(layout.label)
            if model is None:
                raise Refusal(
                    "model-not-allowed",
                    f"Central does not take records of {layout.label}",
                    "Add it to SOCKSTREAM['MODELS'] of central, or take it from that of the site",
                )
            self._plans[index] = compile_plan(self._using, model, layout)
        return self._plans[index]

    @property
    def weight(self) -> int:
        """About how many bytes it takes, once all of its plans are made."""
        names = sum(len(layout.keys) + len(layout.others) for layout in self.layouts)
        return len(self.layouts) * _OF_LAYOUT + names * _OF_NAME


class Headers:
    """The compiled headers by their bytes: those that were used last, bounded by their weight.

    One for all streams of a process; its threads share it.
    """

    def __init__(self, allowed: Models, using: str, *, most: int = _KEPT) -> None:
        self._allowed = allowed
        self._using = using
        self._most = most
        self._weight = 0
        self._known: OrderedDict[bytes, Header] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, header: bytes) -> Header:
        """The compiled form of a header. Raises WireError bad-frame or bad-batch."""
        with self._lock:
            if (known := self._known.get(header)) is not None:
                self._known.move_to_end(header)
                return known
        made = Header(records.decode_header(header), self._allowed, self._using)
        with self._lock:
            if header not in self._known:
                self._known[header] = made
                self._weight += made.weight
                while self._weight > self._most:
                    self._weight -= self._known.popitem(last=False)[1].weight
        return made


@dataclass(frozen=True)
class Part:
    """Records of one batch with consecutive sequence numbers.

    `nested` is how many elements their values hold, where they were just unpacked.
    """

    header: Header
    first_seq: int
    records: Sequence[Sequence[Any]]
    nested: int = 0

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
    """A segment, packed: where the stream stands before and after it."""

    batch: Batch
    first_seq: int
    last_seq: int
    digest_before: bytes
    digest_after: bytes
    ends_group: bool
    cut: bool
    _segment: EncodedSegment
    _headers: Headers

    @property
    def size(self) -> int:
        """Its records in bytes."""
        return len(self._segment.data)

    @property
    def part(self) -> Part:
        """The records, unpacked each time. Raises WireError if they are malformed."""
        header = self._headers.get(self.batch.header)
        found = self._segment.decode()
        return Part(header, self.first_seq, found.records, found.nested)


def steps(batches: Iterable[Batch], headers: Headers) -> Iterator[Step]:
    """The segments of the batches. Raises WireError if a digest is not that of its batch."""
    for batch in batches:
        for segment in records.encoded(batch, headers.get):
            yield Step(
                batch,
                segment.first_seq,
                segment.last_seq,
                segment.digest_before,
                segment.digest_after,
                segment.ends_group,
                segment.cut,
                segment,
                headers,
            )


def chunks(coming: Iterable[Step]) -> Iterator[list[Step]]:
    """So many steps together as are unpacked and written at once."""
    some: list[Step] = []
    count = size = 0
    for step in coming:
        count += step.last_seq - step.first_seq + 1
        size += step.size
        if some and (count > CHUNK_RECORDS or size > CHUNK_BYTES):
            yield some
            some, count, size = [], step.last_seq - step.first_seq + 1, step.size
        some.append(step)
    if some:
        yield some


def unpacked(coming: Iterable[Step]) -> Iterator[tuple[Step, list[Part]]]:
    """The parts of a chunk, those together that do not hold too much, each time with the last step
    of theirs.
    """
    parts: list[Part] = []
    nested, last = 0, None
    for step in coming:
        part = step.part
        nested += part.nested
        if last is not None and nested > CHUNK_NESTED:
            yield last, parts
            parts, nested = [], part.nested
        parts.append(part)
        last = step
    if last is not None:
        yield last, parts


def counted(parts: Iterable[Part]) -> Counter[str]:
    """How many records of each model the parts hold."""
    counts: Counter[str] = Counter()
    for part in parts:
        for index, number in Counter(record[1] for record in part.records).items():
            counts[part.header.layout(index).label] += number
    return counts


def fit_into_one(coming: Sequence[Step]) -> bool:
    """Whether the steps are one chunk."""
    return len(list(islice(chunks(coming), 2))) < 2


def end_of_group(coming: Sequence[Step]) -> int:
    """How many of the steps, which go on with a group, belong to it: up to its end, or else to the
    last cut; 0 if neither is among them.
    """
    ends = [number for number, step in enumerate(coming, 1) if step.ends_group]
    wholly = (number for number in ends if not coming[number - 1].cut)
    return next(wholly, ends[-1] if ends else 0)


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
    """The parts, cut where a model's layout changes: a net effect needs one layout a model.

    A mark is a run of its own. Of marks between which no row comes, those that change nothing are
    left out: whoever repeats them without end is not to cost more than their bytes.
    """
    run: list[Part] = []
    layouts: dict[str, Layout] = {}
    for part in _without_idle_marks(_pure(parts)):
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
    """The parts, each of marks alone or without one; by records those that have two layouts of a
    model, after a migration at the site.
    """
    for part in parts:
        for some in _split_at_marks(part) if part.has_marks else (part,):
            if not some.has_marks and any(len(indexes) > 1 for indexes in some.layouts.values()):
                yield from (some.slice(at, at + 1) for at in range(len(some.records)))
            else:
                yield some


def _split_at_marks(part: Part) -> Iterator[Part]:
    start = 0
    for _, alike in groupby(part.records, key=_is_mark):
        end = start + sum(1 for _ in alike)
        yield part.slice(start, end)
        start = end


def _is_mark(record: Sequence[Any]) -> bool:
    return bool(record[0] >= BEGIN)


def _without_idle_marks(parts: Iterable[Part]) -> Iterator[Part]:
    """The parts, of the marks only those that are left, each as a part of its own."""
    for marks, alike in groupby(parts, key=attrgetter("has_marks")):
        if marks:
            yield from _marks_left(alike)
        else:
            yield from alike


def _marks_left(parts: Iterable[Part]) -> list[Part]:
    """What marks come to that follow each other: a few for each model, in their order."""
    left: dict[str, list[_Mark]] = {}
    for part in parts:
        for at, (op, index, _) in enumerate(part.records):
            of_model = left.setdefault(part.header.layout(index).label, [])
            if not of_model or of_model[-1].op != op:
                of_model[:] = _settled([*of_model, _Mark(op, part, at)])
    kept = sorted(chain.from_iterable(left.values()), key=attrgetter("seq"))
    return [mark.part.slice(mark.at, mark.at + 1) for mark in kept]


@dataclass(frozen=True, slots=True)
class _Mark:
    op: int
    part: Part
    at: int

    @property
    def seq(self) -> int:
        return self.part.first_seq + self.at


def _settled(marks: list[_Mark]) -> list[_Mark]:
    """The marks of one model without those that the last one makes idle.

    A BEGIN starts anew after whatever an END has taken away. An END takes away all that has not
    come since the last BEGIN, and so what an END before it took, too.
    """
    *before, last = marks
    ops = [mark.op for mark in before]
    if last.op == BEGIN:
        ended = len(ops) - ops[::-1].index(END) if END in ops else 0
        return [*before[:ended], last]
    if last.op == END:
        begun = [mark for mark in before if mark.op == BEGIN][-1:]
        loaded = [mark for mark in before[-1:] if mark.op == LOAD]
        return [*begun, *loaded, last]
    return marks
