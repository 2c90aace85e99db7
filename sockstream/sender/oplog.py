"""The oplog: batches in the order of their sequence numbers, and where the stream stands.

Every road reads from a cursor of its own; only the sequencer appends, only `prune` removes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from django.db import transaction
from django.db.models import Case, F, Min, Q, Sum, When
from django.db.models.functions import Length
from django.utils import timezone

from ..exceptions import SockstreamError
from ..wire import digest, records
from ..wire.digest import Position
from .models import Batch, Capture, Stream

VERSION = 1
_SEGMENT = struct.Struct(">IQ")
_PRUNED_AT_ONCE = 100


@dataclass(frozen=True)
class Held:
    """What the oplog still holds: the first and the last sequence number; last < first if none."""

    first: int
    last: int


def stream(using: str) -> Stream:
    """The database's stream; made, with a new epoch, at the first call."""
    found = Stream.objects.using(using).filter(id=1).first()
    if found is not None:
        return found
    made, _ = Stream.objects.using(using).get_or_create(
        id=1, defaults={"epoch": uuid4().bytes, "digest": digest.ZERO}
    )
    return made


def head(using: str) -> Position:
    """The position after the last numbered record."""
    row = stream(using)
    return Position(bytes(row.epoch), row.seq, bytes(row.digest))


def append(batch: records.Batch, using: str, now: datetime, *, snapshot: bool = False) -> None:
    """Store `batch` and move the head, in the caller's transaction.

    `snapshot`: one is open after it.

    Raises SockstreamError if the head is not where the batch begins: another sequencer was here.
    """
    moved = (
        Stream.objects.using(using)
        .filter(id=1, seq=batch.first_seq - 1)
        .update(seq=batch.last_seq, digest=batch.digest_after, snapshot=snapshot)
    )
    if not moved:
        raise SockstreamError(
            "sequencer-fenced",
            f"The oplog of database {using!r} was moved by another process",
            "Run one oplog_send a database",
        )
    Batch.objects.using(using).create(
        first_seq=batch.first_seq,
        last_seq=batch.last_seq,
        version=VERSION,
        segments=b"".join(_SEGMENT.pack(part.count, part.size) for part in batch.segments),
        open=batch.open,
        cut=batch.cut,
        header=batch.header,
        data=batch.data,
        digest_before=batch.digest_before,
        digest_after=batch.digest_after,
        made_at=now,
    )


def read(seq: int, using: str, limit: int, *, unfinished: bool = False) -> list[records.Batch]:
    """Up to `limit` batches in order, from the one that holds `seq`.

    A group that is not yet in the oplog to its end is held back, unless `unfinished`: central
    keeps its transaction open until the end comes. That of a snapshot may be long in coming, so
    that one is held back always.
    """
    batches = Batch.objects.using(using).filter(last_seq__gte=seq)
    if not unfinished or stream(using).snapshot:
        batches = batches.filter(last_seq__lte=whole_up_to(using))
    return [_loaded(row) for row in batches.order_by("first_seq")[:limit]]


def whole_up_to(using: str) -> int:
    """The last seq of the last group that is in the oplog to its end."""
    closed = Batch.objects.using(using).filter(open=False).order_by("-last_seq")
    last = closed.values_list("last_seq", flat=True).first()
    return last if last is not None else stream(using).pruned_seq


def _loaded(row: Batch) -> records.Batch:
    if row.version != VERSION:
        raise SockstreamError(
            "oplog-version",
            f"The oplog's batch {row.first_seq} has the stored format {row.version}, "
            f"this sockstream reads {VERSION}",
            "Install the version of sockstream that wrote it, or a newer one",
        )
    return records.Batch(
        first_seq=row.first_seq,
        segments=tuple(records.Segment(*part) for part in _SEGMENT.iter_unpack(row.segments)),
        open=row.open,
        header=bytes(row.header),
        data=bytes(row.data),
        digest_before=bytes(row.digest_before),
        digest_after=bytes(row.digest_after),
        cut=row.cut,
    )


def held(using: str) -> Held:
    """The range of sequence numbers that can still be sent."""
    first = Batch.objects.using(using).aggregate(first=Min("first_seq"))["first"]
    last = stream(using).seq
    return Held(first if first is not None else last + 1, last)


def digest_at(seq: int, using: str) -> bytes | None:
    """The running digest after record `seq`; None if the oplog can't tell any more."""
    if seq == 0:
        return digest.ZERO
    if seq == (row := stream(using)).seq:
        return bytes(row.digest)
    batches = Batch.objects.using(using).order_by("first_seq")
    at_border = batches.filter(Q(last_seq=seq) | Q(first_seq=seq + 1)).first()
    if at_border is not None:
        return bytes(
            at_border.digest_after if at_border.last_seq == seq else at_border.digest_before
        )
    inside = batches.filter(first_seq__lte=seq, last_seq__gt=seq).first()
    return records.digest_at(_loaded(inside), seq) if inside is not None else None


def note_ack(seq: int, using: str) -> None:
    """Remember that central has applied everything up to `seq`."""
    Stream.objects.using(using).filter(id=1, acked_seq__lt=seq).update(
        acked_seq=seq, acked_at=timezone.now()
    )


def note_state(using: str, state: str, *, peer: str = "", error: Exception | None = None) -> None:
    """Show in the status what the link is doing; an error stays until the next connection."""
    changes: dict[str, object] = {"state": state, "state_at": timezone.now()}
    if peer:
        changes["peer"] = peer
    if error is not None:
        changes |= {"error_code": getattr(error, "code", "error"), "error": str(error)}
    elif state == "connected":
        changes |= {"error_code": "", "error": ""}
    Stream.objects.using(using).filter(id=1).update(**changes)


def note_session(session: int, using: str) -> None:
    """Store the number of the session that central gave, before it is confirmed."""
    Stream.objects.using(using).filter(id=1).update(session=session, welcomed=True)


def fork(using: str) -> None:
    """Begin a new epoch after the one that there is: its oplog is gone, numbers begin at 1.

    In the caller's transaction, which has to begin a snapshot too. An epoch that central never
    welcomed is left out of the line: central knows the one before it.
    """
    # A write first: SQLite lets no transaction write that has read before others wrote. And MySQL
    # assigns from left to right.
    Stream.objects.using(using).filter(id=1).update(
        parent_epoch=Case(When(welcomed=True, then=F("epoch")), default=F("parent_epoch")),
        epoch=uuid4().bytes,
        seq=0,
        digest=digest.ZERO,
        acked_seq=0,
        acked_at=None,
        pruned_seq=0,
        snapshot=False,
        welcomed=False,
        error_code="",
        error="",
    )
    Batch.objects.using(using).all().delete()
    Capture.objects.using(using).all().delete()


def prune(using: str, retention: timedelta) -> int:
    """Remove batches that are acked and older than `retention`, in short transactions.

    Returns how many were removed.
    """
    removed = 0
    while part := _prune_some(using, timezone.now() - retention):
        removed += part
    return removed


def _prune_some(using: str, before: datetime) -> int:
    acked = stream(using).acked_seq
    old = Batch.objects.using(using).filter(last_seq__lte=acked, made_at__lt=before)
    last = list(old.order_by("first_seq").values_list("last_seq", flat=True)[:_PRUNED_AT_ONCE])
    if not last:
        return 0
    with transaction.atomic(using=using):
        count, _ = Batch.objects.using(using).filter(last_seq__lte=last[-1]).delete()
        Stream.objects.using(using).filter(id=1).update(pruned_seq=last[-1])
    return count


def size(using: str) -> int:
    """How many bytes the records take that the oplog holds, acked ones too."""
    found = Batch.objects.using(using).aggregate(size=Sum(Length("data")))
    return int(found["size"] or 0)


def too_large(using: str, most: int) -> SockstreamError | None:
    """What there is to say if the oplog has grown beyond `most` bytes."""
    if size(using) <= most:
        return None
    return SockstreamError(
        "oplog-large",
        f"The oplog of database {using!r} holds more than OPLOG_MAX_BYTES ({most} bytes)",
        "Nothing is dropped: see that central takes it, or that the disk has room",
    )


def backlog(using: str) -> tuple[int, int]:
    """How many records are captured but not numbered, and numbered but not acked."""
    row = Stream.objects.using(using).annotate(unacked=F("seq") - F("acked_seq")).filter(id=1)
    unacked = row.values_list("unacked", flat=True).first() or 0
    return Capture.objects.using(using).count(), unacked
