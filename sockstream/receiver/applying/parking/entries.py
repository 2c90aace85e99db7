"""The table of parked rows: one entry a row, with the last record that came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b

from django.db import connections
from django.db.models import QuerySet

from sockstream.receiver.applying.parts import Headers, Part
from sockstream.receiver.models import Cause, Offset, Parked
from sockstream.wire.digest import ZERO, extend
from sockstream.wire.records import Batch, BatchBuilder, Segment, segments

LARGE = 100_000  # bytes
REASON = ("cause", "behind", "code", "error")

_AT_ONCE = 100
_ROW = ("source", "stream", "epoch", "model", "name")
_LAST = ("last_seq", "op", "names", "layout", "record", "absent")


def of_stream(offset: Offset, using: str) -> QuerySet[Parked]:
    """The parked rows of the stream whose offset this is, of any epoch."""
    return Parked.objects.using(using).filter(source_id=offset.source_id, stream=offset.stream)


def of_epoch(offset: Offset, using: str) -> QuerySet[Parked]:
    """Those that can be applied, in the order of their first records."""
    mine = of_stream(offset, using).filter(epoch=bytes(offset.epoch).hex())
    return mine.order_by("seq")


def store(rows: Sequence[Parked], using: str, *, reasons: bool) -> None:
    """Insert the entries, or let them replace what is stored as the last state of their rows.

    `reasons`: replace also why they are parked.
    """
    targets = connections[using].features.supports_update_conflicts_with_target
    for some in _in_pieces(rows):
        Parked.objects.using(using).bulk_create(
            some,
            update_conflicts=True,
            update_fields=[*_LAST, *REASON * reasons],
            unique_fields=_ROW if targets else None,
        )


def delete(offset: Offset, ids: Sequence[int], using: str) -> None:
    """Delete entries of the stream."""
    for start in range(0, len(ids), _AT_ONCE):
        of_stream(offset, using).filter(pk__in=ids[start : start + _AT_ONCE]).delete()


def forget(offset: Offset, seqs: Collection[int], using: str) -> None:
    """Delete the entries of rows that nobody has any more. Nothing waits behind them now."""
    for seq in seqs:
        of_epoch(offset, using).filter(seq=seq).delete()
        behind = of_epoch(offset, using).filter(behind=seq)
        behind.update(cause=Cause.FAULT, behind=0)


def row_name(name: bytes) -> str:
    """What the table calls a row with such a packed key: `Parked.name`."""
    return blake2b(name, digest_size=16).hexdigest()


def size(parked: Parked) -> int:
    """About how many bytes an entry takes."""
    return len(parked.record) + len(parked.layout) + len(parked.names)


def _in_pieces(rows: Sequence[Parked]) -> Iterator[list[Parked]]:
    """Some at a time, for statements of a moderate size; a large one alone."""
    piece: list[Parked] = []
    taken = 0
    for parked in rows:
        if piece and (len(piece) == _AT_ONCE or taken + size(parked) > LARGE):
            yield piece
            piece, taken = [], 0
        piece.append(parked)
        taken += size(parked)
    if piece:
        yield piece


def encoded(part: Part) -> tuple[bytes, bytes]:
    """The layout and the one record of `part`, as they are stored."""
    op, index, values = part.records[0]
    builder = BatchBuilder(part.first_seq, ZERO)
    builder.add(op, part.header.layout(index), values)
    batch = builder.build()
    return batch.header, batch.data


def decoded(parked: Parked, headers: Headers) -> Part:
    """What is parked of a row, as the applier writes it.

    Raises WireError if it is not what was stored.
    """
    header, data = bytes(parked.layout), bytes(parked.record)
    digest = extend(ZERO, header, data)
    batch = Batch(parked.seq, (Segment(1, len(data)),), False, header, data, ZERO, digest)
    ((_, index, values),) = next(iter(segments(batch))).records
    return Part(headers.get(header), parked.seq, [(parked.op, index, values)])
