"""Records and batches: how rows are encoded once, chained by digests, and decoded again.

A record is msgpack `[op, layout, values]`, `layout` being an index into the header of its batch,
`[[label, [keys], [others]], ...]`. A batch is immutable. It holds segments, each a group or a part
of one; only the last segment of a batch may be open, its group then goes on in the next batch.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgpack  # type: ignore[import-untyped]

from .bounded import SCALARS, check_depth, unpack_all, unpack_one
from .digest import extend
from .errors import WireError
from .limits import DEFAULT, Limits

INSERT = 1
UPDATE = 2
DELETE = 3
SAVE = 4
"""A row as a snapshot found it, whatever the receiver has."""
BEGIN, LOAD, END = 5, 6, 7
"""Marks of a snapshot, without values: it will bring the layout's model; the rows follow; they
were all, and what else the stream brought of this model is gone."""

MAX_SEGMENTS = 4096
_CACHED_HEADERS = 128
_CACHED_HEADER_SIZE = 64 << 10
# Containers around a value: the list of records is not one, the record and its values are.
_DEPTH_OF_VALUES = 2


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of the values in a record: the model's label, its key fields, the others."""

    label: str
    keys: tuple[str, ...]
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """`count` records in `size` bytes: a group, or a part of one."""

    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records with consecutive sequence numbers, as they were encoded when they were numbered.

    `open`: the group of the last segment goes on in the next batch. `cut`: its last group was cut
    off where it had become too large, perhaps within a transaction that goes on in the next one.
    """

    first_seq: int
    segments: tuple[Segment, ...]
    open: bool
    header: bytes
    data: bytes
    digest_before: bytes
    digest_after: bytes
    cut: bool = False

    @property
    def count(self) -> int:
        """How many records it holds."""
        return sum(segment.count for segment in self.segments)

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    @property
    def size(self) -> int:
        """Header and records in bytes, before compression: what it costs of the window."""
        return len(self.header) + len(self.data)


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """A segment with its records, lists of `[op, layout_index, values]`."""

    first_seq: int
    last_seq: int
    digest_after: bytes
    layouts: tuple[Layout, ...]
    records: list[list[Any]]
    ends_group: bool
    cut: bool = False


class BatchBuilder:
    """Encodes records into a batch that begins with `first_seq`; `digest` is the one before it."""

    def __init__(self, first_seq: int, digest: bytes) -> None:
        self.first_seq = first_seq
        self.size = 0
        self.count = 0
        self._digest = digest
        self._pack = msgpack.Packer().pack
        self._parts: list[bytes] = []
        self._segments: list[Segment] = []
        self._counted = 0
        self._layouts: list[Layout] = []
        self._indexes: dict[Layout, int] = {}
        self._known: dict[int, tuple[int, int, int]] = {}

    def add(self, op: int, layout: Layout, values: Sequence[Any]) -> None:
        """Encode one record; `values` are the key's, then the others' unless `op` is DELETE.

        A mark has none.

        Raises WireError bad-record for a value that has no wire form.
        """
        index, width, key_width = self._known.get(id(layout)) or self._learn(layout)
        if len(values) != _width(op, width, key_width):
            raise self._bad(layout, f"{len(values)} values do not fit its fields")
        try:
            part = self._pack((op, index, values))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._bad(layout, f"a value cannot be encoded: {error}") from error
        self._parts.append(part)
        self.size += len(part)
        self.count += 1

    def add_all(
        self,
        ops: Sequence[int],
        which: Sequence[Hashable],
        values: Sequence[Sequence[Any]],
        layouts: Mapping[Hashable, Layout],
    ) -> None:
        """The same for many records: `which` says under what key the layout of each is.

        If it raises, some of them may have been added.
        """
        learned = {key: self._learn(layout) for key, layout in layouts.items()}
        indexes = [learned[key][0] for key in which]
        fitting = {
            (op, index, _width(op, width, key_width))
            for index, width, key_width in learned.values()
            for op in set(ops)
        }
        try:
            if not fitting.issuperset(zip(ops, indexes, map(len, values), strict=True)):
                raise ValueError("values do not fit their layout")
            parts = list(map(self._pack, zip(ops, indexes, values, strict=True)))
        except (TypeError, ValueError, OverflowError):
            # One by one, for the number of the one that is wrong.
            for op, key, each in zip(ops, which, values, strict=True):
                self.add(op, layouts[key], each)
            raise AssertionError("each of them alone is right") from None
        self._parts += parts
        self.size += sum(map(len, parts))
        self.count += len(parts)

    def end_group(self) -> None:
        """What was added since the last end is one group, or the rest of one."""
        self._close_segment()

    def build(self, open: bool = False, *, cut: bool = False) -> Batch:  # noqa: A002
        """The batch. `open`: its last group goes on in the next batch. `cut`: it was cut off.

        Raises WireError record-too-large if nobody would unpack it, ValueError if it is empty.
        """
        if not self.count or (open and self._counted == self.count):
            raise ValueError("a batch holds records, and an open one ends with records")
        self._close_segment()
        header = encode_header(tuple(self._layouts))
        data = b"".join(self._parts)
        before, digest, start = self._digest, self._digest, 0
        for segment in self._segments:
            part = data[start : start + segment.size]
            start += segment.size
            digest = extend(digest, header, part)
            _check_weight(part, segment.count, self.first_seq)
        segments_ = tuple(self._segments)
        return Batch(self.first_seq, segments_, open, header, data, before, digest, cut)

    def _close_segment(self) -> None:
        if self._counted < self.count:
            done = sum(segment.size for segment in self._segments)
            self._segments.append(Segment(self.count - self._counted, self.size - done))
            self._counted = self.count

    def _learn(self, layout: Layout) -> tuple[int, int, int]:
        index = self._indexes.setdefault(layout, len(self._layouts))
        if index == len(self._layouts):
            self._layouts.append(layout)
        known = index, len(layout.keys) + len(layout.others), len(layout.keys)
        if self._layouts[index] is layout:
            # The list keeps the object alive, so its id() stays its own.
            self._known[id(layout)] = known
        return known

    def _bad(self, layout: Layout, words: str) -> WireError:
        seq = self.first_seq + self.count
        return WireError("bad-record", f"A record of {layout.label}: {words}", seq=seq)


def _check_weight(part: bytes, count: int, seq: int) -> None:
    # An element takes a byte at least, so most segments need no look.
    if len(part) > DEFAULT.elements:
        try:
            unpack_all(part, count, DEFAULT)
        except WireError as error:
            raise WireError("record-too-large", error.words, seq=seq) from error


def _width(op: int, width: int, key_width: int) -> int:
    if op >= BEGIN:
        return 0
    return key_width if op == DELETE else width


def encode_header(layouts: tuple[Layout, ...]) -> bytes:
    """The header of a batch."""
    packed: bytes = msgpack.packb([[each.label, each.keys, each.others] for each in layouts])
    return packed


def decode_header(header: bytes) -> tuple[Layout, ...]:
    """The layouts of a header. Raises WireError bad-frame or bad-batch."""
    return _header(header).layouts


@dataclass(frozen=True, slots=True)
class _Header:
    """`widths`: how many values a record has, by op and layout."""

    layouts: tuple[Layout, ...]
    widths: dict[tuple[int, int], int]


def _header(header: bytes) -> _Header:
    return _decode_cached(header) if len(header) <= _CACHED_HEADER_SIZE else _decode(header)


@lru_cache(maxsize=_CACHED_HEADERS)
def _decode_cached(header: bytes) -> _Header:
    return _decode(header)


def _decode(header: bytes) -> _Header:
    found = unpack_one(header, DEFAULT)
    if type(found) is not list or not found:
        raise WireError("bad-batch", "The header of a batch is no list of layouts")
    layouts = tuple(_layout(each) for each in found)
    widths = {}
    for index, layout in enumerate(layouts):
        width, key_width = len(layout.keys) + len(layout.others), len(layout.keys)
        for op in (INSERT, UPDATE, DELETE, SAVE, BEGIN, LOAD, END):
            widths[op, index] = _width(op, width, key_width)
    return _Header(layouts, widths)


def _layout(found: Any) -> Layout:
    match found:
        case [str(label), [_, *_] as keys, list(others)] if label and _are_names(keys + others):
            return Layout(label, tuple(keys), tuple(others))
    raise WireError("bad-batch", "A layout is not a label, its keys and its other fields")


def _are_names(names: list[Any]) -> bool:
    return all(type(name) is str and name for name in names) and len({*names}) == len(names)


def segments(batch: Batch, limits: Limits = DEFAULT) -> Iterator[DecodedSegment]:
    """The decoded segments of a batch, each as soon as its digest and its records were checked.

    The digest of the last one is compared before anything is handed out.
    Raises WireError: digest-mismatch, bad-batch, bad-record or bad-frame.
    """
    parts = _verified(batch)
    header = _header(batch.header)
    first_seq = batch.first_seq
    for number, (segment, (part, digest)) in enumerate(zip(batch.segments, parts, strict=True), 1):
        records = _records(part, segment, header, first_seq, limits)
        last_seq = first_seq + segment.count - 1
        is_last = number == len(parts)
        ends_group, cut = not (is_last and batch.open), is_last and batch.cut
        yield DecodedSegment(first_seq, last_seq, digest, header.layouts, records, ends_group, cut)
        first_seq = last_seq + 1


def verify(batch: Batch) -> None:
    """Hash a batch, but unpack nothing. Raises WireError digest-mismatch or bad-batch."""
    _verified(batch)


def last_group_end(batch: Batch, before: int) -> int:
    """The last record of the last group that ends in the batch; `before` if none does."""
    if not batch.open:
        return batch.last_seq
    if len(batch.segments) == 1:
        return before
    return batch.last_seq - batch.segments[-1].count


def digest_at(batch: Batch, seq: int) -> bytes | None:
    """The digest after record `seq`; None if no segment of the batch begins or ends there.

    Hashes up to there, but unpacks nothing. Raises WireError bad-batch.
    """
    if seq == batch.first_seq - 1:
        return batch.digest_before
    last = batch.first_seq - 1
    for segment, (_, digest) in zip(batch.segments, _parts(batch), strict=False):
        last += segment.count
        if last == seq:
            return digest
    return None


def _verified(batch: Batch) -> list[tuple[bytes, bytes]]:
    parts = list(_parts(batch))
    if parts[-1][1] != batch.digest_after:
        raise WireError(
            "digest-mismatch",
            f"The records {batch.first_seq} to {batch.last_seq} are not what was numbered",
            "Restore the oplog's row of these numbers from a backup, "
            "or make a new snapshot of the site",
            batch.first_seq,
        )
    return parts


def _parts(batch: Batch) -> Iterator[tuple[bytes, bytes]]:
    """The bytes of each segment, and the digest after it."""
    if not batch.segments or sum(part.size for part in batch.segments) != len(batch.data):
        raise WireError("bad-batch", "The segments of a batch do not add up", seq=batch.first_seq)
    digest, start = batch.digest_before, 0
    for segment in batch.segments:
        part = batch.data[start : start + segment.size]
        start += segment.size
        digest = extend(digest, batch.header, part)
        yield part, digest


def _records(
    part: bytes, segment: Segment, header: _Header, first_seq: int, limits: Limits
) -> list[list[Any]]:
    try:
        records = unpack_all(part, segment.count, limits)
        _check_records(records, header.widths, limits.depth - _DEPTH_OF_VALUES)
    except WireError as error:
        raise WireError(error.code, error.words, error.mend, first_seq) from None
    return records


def _check_records(records: list[Any], widths: dict[tuple[int, int], int], depth: int) -> None:
    fits, plain = widths.get, SCALARS.issuperset
    try:
        for op, index, values in records:
            if fits((op, index)) != len(values) or type(values) is not list:
                raise WireError("bad-record", "A record does not fit its layout")
            if type(op) is not int or type(index) is not int:
                raise WireError("bad-record", "A record has no op or no layout")
            if not plain(map(type, values)):
                for value in values:
                    check_depth(value, depth)
    except (TypeError, ValueError):
        raise WireError("bad-record", "A record is not an op, a layout and values") from None
