"""Records and batches: how rows are encoded once, chained by digests, and decoded again.

A record is msgpack `[op, layout, values]`, `layout` being an index into the header of its batch,
`[[label, [keys], [others]], ...]`. A batch is immutable. It holds segments, each a group or a part
of one; only the last segment of a batch may be open, its group then goes on in the next batch.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]

from .bounded import unpack_all
from .compression import decompress
from .digest import extend
from .errors import WireError
from .layouts import (
    BEGIN,
    DELETE,
    END,
    INSERT,
    LOAD,
    SAVE,
    UPDATE,
    Header,
    Layout,
    decode_header,
    encode_header,
)
from .limits import DEFAULT, Limits

__all__ = [
    "BEGIN",
    "DELETE",
    "END",
    "INSERT",
    "LOAD",
    "MAX_RECORDS",
    "MAX_SEGMENTS",
    "SAVE",
    "UPDATE",
    "Batch",
    "BatchBuilder",
    "DecodedSegment",
    "EncodedSegment",
    "Header",
    "Layout",
    "Segment",
    "decode_header",
    "digest_at",
    "encode_header",
    "encoded",
    "last_group_end",
    "segments",
    "verify",
]

MAX_SEGMENTS = 4096
MAX_RECORDS = 1 << 18
"""In a batch: the smallest ones take a thousandth of that on the line, and a second to unpack."""
# Containers around a value: the list of records is not one, the record and its values are.
_DEPTH_OF_VALUES = 2


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
    `data` is the records in `codec`, as they came: see `raw`.
    """

    first_seq: int
    segments: tuple[Segment, ...]
    open: bool
    header: bytes
    data: bytes
    digest_before: bytes
    digest_after: bytes
    cut: bool = False
    codec: str = ""

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
        return len(self.header) + self.raw_length

    @property
    def raw_length(self) -> int:
        """The bytes of the records, before compression."""
        return sum(segment.size for segment in self.segments)

    def raw(self) -> bytes:
        """The records as they were encoded, decompressed each time.

        Raises WireError: decompress-limit or bad-batch, if they are not of their length.
        """
        try:
            return decompress(self.data, self.codec, self.raw_length, self.raw_length)
        except WireError as error:
            raise WireError(error.code, error.words, error.mend, self.first_seq) from None


@dataclass(frozen=True, slots=True)
class EncodedSegment:
    """A segment whose digest was checked, and whose records are still packed."""

    first_seq: int
    last_seq: int
    digest_before: bytes
    digest_after: bytes
    header: Header
    data: bytes
    ends_group: bool
    cut: bool = False

    def decode(self, limits: Limits = DEFAULT) -> DecodedSegment:
        """Its records. Raises WireError: bad-record or bad-frame."""
        try:
            records = unpack_all(self.data, self.last_seq - self.first_seq + 1, limits)
            nested = self.header.check(records, limits.depth - _DEPTH_OF_VALUES)
        except WireError as error:
            raise WireError(error.code, error.words, error.mend, self.first_seq) from None
        return DecodedSegment(
            self.first_seq,
            self.last_seq,
            self.digest_after,
            self.header.layouts,
            records,
            self.ends_group,
            self.cut,
            nested,
        )


@dataclass(frozen=True, slots=True)
class DecodedSegment:
    """A segment with its records, lists of `[op, layout_index, values]`.

    `nested` is how many elements the values hold, all together.
    """

    first_seq: int
    last_seq: int
    digest_after: bytes
    layouts: tuple[Layout, ...]
    records: list[list[Any]]
    ends_group: bool
    cut: bool = False
    nested: int = 0


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
        self._known: dict[int, int] = {}

    def add(self, op: int, layout: Layout, values: Sequence[Any]) -> None:
        """Encode one record; `values` are the key's, then the others' unless `op` is DELETE.

        A mark has none.

        Raises WireError bad-record for a value that has no wire form.
        """
        known = len(self._layouts)
        index = self._learn(layout)
        if len(values) != layout.width(op):
            self._unlearn(known)
            raise self._bad(layout, f"{len(values)} values do not fit its fields")
        try:
            part = self._pack((op, index, values))
        except (TypeError, ValueError, OverflowError) as error:
            self._unlearn(known)
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
        known = len(self._layouts)
        learned = {key: self._learn(layouts[key]) for key in dict.fromkeys(which)}
        indexes = [learned[key] for key in which]
        fitting = {
            (op, index, layouts[key].width(op)) for key, index in learned.items() for op in set(ops)
        }
        try:
            if not fitting.issuperset(zip(ops, indexes, map(len, values), strict=True)):
                raise ValueError("values do not fit their layout")
            parts = list(map(self._pack, zip(ops, indexes, values, strict=True)))
        except (TypeError, ValueError, OverflowError):
            # One by one, for the number of the one that is wrong.
            self._unlearn(known)
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

    def _learn(self, layout: Layout) -> int:
        known = self._known.get(id(layout))
        if known is not None:
            return known
        index = self._indexes.setdefault(layout, len(self._layouts))
        if index == len(self._layouts):
            self._layouts.append(layout)
        if self._layouts[index] is layout:
            # The list keeps the object alive, so its id() stays its own.
            self._known[id(layout)] = index
        return index

    def _unlearn(self, known: int) -> None:
        """No record uses the layouts after the first `known`: the header must not have them."""
        for layout in self._layouts[known:]:
            del self._indexes[layout]
            self._known.pop(id(layout), None)
        del self._layouts[known:]

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


def segments(batch: Batch, limits: Limits = DEFAULT) -> Iterator[DecodedSegment]:
    """The decoded segments of a batch, each as soon as its records were checked.

    Raises WireError: what `encoded` does, bad-record or bad-frame.
    """
    return (segment.decode(limits) for segment in encoded(batch))


def encoded(batch: Batch, compiled: Callable[[bytes], Header] = Header.of) -> list[EncodedSegment]:
    """The segments of a batch, whose records are not looked at. `compiled` decodes its header.

    Raises WireError: digest-mismatch, decompress-limit, bad-batch or bad-frame.
    """
    parts = _verified(batch)
    header = compiled(batch.header)
    if (label := header.unused((part for part, _ in parts), batch.count)) is not None:
        words = f"The header of a batch has a layout of {label} that no record uses"
        raise WireError("bad-batch", words, seq=batch.first_seq)
    found: list[EncodedSegment] = []
    first_seq, before = batch.first_seq, batch.digest_before
    for number, (segment, (part, digest)) in enumerate(zip(batch.segments, parts, strict=True), 1):
        last_seq, is_last = first_seq + segment.count - 1, number == len(parts)
        ends_group, cut = not (is_last and batch.open), is_last and batch.cut
        found.append(
            EncodedSegment(first_seq, last_seq, before, digest, header, part, ends_group, cut)
        )
        first_seq, before = last_seq + 1, digest
    return found


def not_as_numbered(first_seq: int, last_seq: int) -> WireError:
    """That stored records are damaged."""
    return WireError(
        "digest-mismatch",
        f"The records {first_seq} to {last_seq} are not what was numbered",
        "Restore the oplog's row of these numbers from a backup, "
        "or make a new snapshot of the site",
        first_seq,
    )


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
        raise not_as_numbered(batch.first_seq, batch.last_seq)
    return parts


def _parts(batch: Batch) -> Iterator[tuple[bytes, bytes]]:
    """The bytes of each segment, and the digest after it."""
    if not batch.segments:
        raise WireError("bad-batch", "A batch has no segments", seq=batch.first_seq)
    data, digest, start = batch.raw(), batch.digest_before, 0
    for segment in batch.segments:
        part = data[start : start + segment.size]
        start += segment.size
        digest = extend(digest, batch.header, part)
        yield part, digest
