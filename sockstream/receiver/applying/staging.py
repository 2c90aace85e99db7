"""A group that has not ended yet: kept at central as it came, so that no transaction waits for it.

Nothing of it is applied or looked at. Where it ends stands in the stream's offset, beside what is
applied, and everything here happens in the transaction of a caller who holds that (progress.hold).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db.models import Sum

from sockstream.databases import own_tables
from sockstream.receiver.models import Offset, Staged
from sockstream.wire import messages
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError
from sockstream.wire.frames import LENGTH_SIZE
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Records
from sockstream.wire.records import Batch

from .faults import Fenced
from .progress import Progress

VERSION = 1
_AT_ONCE = 500
_BYTES_AT_ONCE = 4 << 20
_RANGE = "{offset_id} = %s AND {first_seq} > %s AND {first_seq} <= %s ORDER BY {first_seq}"


def add(progress: Progress, batches: Sequence[Batch], tried: int, most: int, using: str) -> None:
    """Keep batches that follow the last ones.

    `tried`: the last cut at which they could not be committed. Raises WireError group-too-large if
    they are more than `most` bytes.
    """
    row = progress.row
    size = row.staged_bytes + sum(batch.size for batch in batches)
    if size > most:
        raise WireError(
            "group-too-large",
            f"The transaction after record {progress.seq} has not ended after {size} bytes, and "
            f"central keeps {most} of one that has not",
            'Raise SOCKSTREAM["STAGED_MAX"] at central',
            progress.seq + 1,
        )
    for batch in batches:
        values = {
            "offset_id": row.pk,
            "first_seq": batch.first_seq,
            "last_seq": batch.last_seq,
            "digest_after": batch.digest_after,
            "size": batch.size,
            "version": VERSION,
            "data": messages.pack(Records(batch))[LENGTH_SIZE:],
        }
        own_tables.insert(Staged, values, using)
    _note(row, using, batches[-1], size, tried)


def batches(row: Offset, using: str) -> Iterator[Batch]:
    """The staged batches in their order; a few of them are in memory at once."""
    last = 0
    where = "{offset_id} = %s AND {first_seq} > %s ORDER BY {first_seq} LIMIT %s"
    while sizes := own_tables.select(
        Staged, ("first_seq", "size"), where, [row.pk, last, _AT_ONCE], using
    ):
        for end in _ends(sizes):
            names = ("version", "size", "data")
            found = own_tables.select(Staged, names, _RANGE, [row.pk, last, end], using)
            yield from (_loaded(version, size, bytes(data)) for version, size, data in found)
            last = end


def _ends(sizes: Sequence[tuple[int, int]]) -> Iterator[int]:
    """The last number of each run of batches that are read together."""
    total = 0
    for at, (_, size) in enumerate(sizes):
        total += size
        if at and total > _BYTES_AT_ONCE:
            yield sizes[at - 1][0]
            total = size
    yield sizes[-1][0]


def _loaded(version: int, size: int, data: bytes) -> Batch:
    if version != VERSION:
        raise WireError(
            "internal",
            f"Staged records have the stored format {version}, this sockstream reads {VERSION}",
            "Install the version of sockstream at central that wrote them, or a newer one",
        )
    message = messages.unpack(data, Limits(frame=max(size, len(data))))
    assert isinstance(message, Records)
    return message.batch


def rest(row: Offset, coming: Sequence[Batch], using: str) -> Sequence[Batch]:
    """Those of the batches that are not staged yet. What is staged of another history is dropped:
    nothing of it was applied.
    """
    for at, batch in enumerate(coming):
        if batch.first_seq > row.staged_seq:
            return coming[at:]
        if batch.last_seq > row.seq and not _is_there(row, batch, using):
            _cut_back(row, batch.first_seq, using)
            return coming[at:]
    return ()


def _is_there(row: Offset, batch: Batch, using: str) -> bool:
    where = "{offset_id} = %s AND {first_seq} = %s"
    same = [(batch.last_seq, batch.digest_after)]
    names, key = ("last_seq", "digest_after"), [row.pk, batch.first_seq]
    found = own_tables.select(Staged, names, where, key, using)
    return [(last_seq, bytes(digest)) for last_seq, digest in found] == same


def _cut_back(row: Offset, seq: int, using: str) -> None:
    """Drop the batches that hold record `seq` or one after it."""
    staged = Staged.objects.using(using).filter(offset=row.pk)
    staged.filter(last_seq__gte=seq).delete()
    last = staged.order_by("-first_seq").defer("data").first()
    size = staged.aggregate(size=Sum("size"))["size"] or 0
    _note(row, using, last, size, min(row.staged_tried, last.last_seq) if last else 0)


def end_of(row: Offset, epoch: bytes, seq: int) -> tuple[int, bytes]:
    """The number and the digest at the end of what is staged after record `seq` of an epoch; 0 if
    there is nothing.
    """
    if row.staged_seq > seq and bytes(row.staged_epoch) == epoch:
        return row.staged_seq, bytes(row.staged_digest)
    return 0, ZERO


def drop(row: Offset, using: str) -> None:
    """Drop all that is staged of the stream."""
    Staged.objects.using(using).filter(offset=row.pk).delete()
    _note(row, using, None, 0, 0)


def _note(row: Offset, using: str, last: Batch | Staged | None, size: int, tried: int) -> None:
    changes = {
        "staged_seq": last.last_seq if last else 0,
        "staged_digest": bytes(last.digest_after) if last else ZERO,
        "staged_epoch": bytes(row.epoch),
        "staged_bytes": size,
        "staged_tried": tried,
    }
    if not own_tables.update(Offset, changes, {"id": row.pk, "fence": row.fence}, using):
        raise Fenced(f"The offset of {row.stream} was moved by a newer session")
    for name, value in changes.items():
        setattr(row, name, value)
