"""The oplog: batches in the order of their sequence numbers, and where the stream stands.

Every road reads from a cursor of its own; only the sequencer appends, only `prune` removes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from django.db import transaction
from django.db.models import Case, F, Max, Min, Sum, When
from django.db.models.functions import Length
from django.utils import timezone

from sockstream.databases import own_tables
from sockstream.exceptions import SockstreamError
from sockstream.sender.models import Acked, Batch, Capture, Stream
from sockstream.wire import digest, records
from sockstream.wire.errors import Class, WireError

VERSION = 2
"""Of the stored format. In 2, a seal stands behind the segments."""
_SEGMENT = struct.Struct(">IQ")
_SEALED = struct.Struct(">QQ??")
_SEAL_BYTES = 8
_PRUNED_AT_ONCE = 100
_NOTES = 100
_ENDLESS = 2**63 - 1
_STORED = (
    "first_seq",
    "last_seq",
    "version",
    "segments",
    "open",
    "cut",
    "header",
    "data",
    "digest_before",
    "digest_after",
)


@dataclass(frozen=True)
class Held:
    """What the oplog still holds: the first and the last sequence number; last < first if none."""

    first: int
    last: int


@dataclass(frozen=True)
class Head:
    """The position after the last numbered record.

    `snapshot`: one is open. `forked`: there was another epoch before.
    """

    epoch: bytes
    seq: int
    digest: bytes
    snapshot: bool
    forked: bool


def stream(using: str) -> Stream:
    """The database's stream; made, with a new epoch, at the first call."""
    found = Stream.objects.using(using).filter(id=1).first()
    if found is not None:
        return found
    made, _ = Stream.objects.using(using).get_or_create(
        id=1, defaults={"epoch": uuid4().bytes, "digest": digest.ZERO}
    )
    return made


def head(using: str) -> Head:
    """Where the oplog ends; the stream is made at the first call."""
    names = ["epoch", "seq", "digest", "snapshot", "parent_epoch"]
    for epoch, seq, last, snapshot, parent in own_tables.select(
        Stream, names, "{id} = 1", [], using
    ):
        forked = bool(parent)
        return Head(bytes(epoch), seq, bytes(last), snapshot=bool(snapshot), forked=forked)
    stream(using)
    return head(using)


def append(batch: records.Batch, using: str, now: datetime, *, snapshot: bool = False) -> None:
    """Store `batch` and move the head, in the caller's transaction.

    `snapshot`: one is open after it.

    Raises SockstreamError if the head is not where the batch begins: another sequencer was here.
    """
    after = {"seq": batch.last_seq, "digest": batch.digest_after, "snapshot": snapshot}
    if not own_tables.update(Stream, after, {"id": 1, "seq": batch.first_seq - 1}, using):
        raise SockstreamError(
            "sequencer-fenced",
            f"The oplog of database {using!r} was moved by another process",
            "Run one oplog_send a database",
        )
    row = {
        "first_seq": batch.first_seq,
        "last_seq": batch.last_seq,
        "version": VERSION,
        "segments": _sealed(batch),
        "open": batch.open,
        "cut": batch.cut,
        "header": batch.header,
        "data": batch.data,
        "digest_before": batch.digest_before,
        "digest_after": batch.digest_after,
        "made_at": now,
    }
    own_tables.insert(Batch, row, using)


def read(seq: int, using: str, limit: int, *, unfinished: bool = False) -> Iterator[records.Batch]:
    """Up to `limit` batches in order, from the one that holds `seq`.

    A group that is not yet in the oplog to its end is held back, unless `unfinished`: central
    stages it until the end comes. That of a snapshot may be long in coming, so that one is held
    back always. Raises WireError at one that is damaged.
    """
    last = _ENDLESS
    if not unfinished or head(using).snapshot:
        last = whole_up_to(using)
    where = "{last_seq} >= %s AND {last_seq} <= %s ORDER BY {first_seq} LIMIT %s"
    for row in own_tables.select(Batch, _STORED, where, [seq, last, limit], using):
        yield _loaded(row)


def whole_up_to(using: str) -> int:
    """The last seq of the last group that is in the oplog to its end."""
    where = "NOT {open} ORDER BY {last_seq} DESC LIMIT 1"
    for (last,) in own_tables.select(Batch, ["last_seq"], where, [], using):
        return int(last)
    return stream(using).pruned_seq


def _loaded(row: Sequence[Any]) -> records.Batch:
    """Raises WireError if it is not as it was stored. Whether header and data are, the digest says,
    to whoever hashes them."""
    first_seq, last_seq, version, segments, open_, cut, header, data, before, after = row
    if version not in (1, VERSION):
        raise WireError(
            "oplog-version",
            f"The oplog's batch {first_seq} has the stored format {version}, "
            f"this sockstream reads {VERSION}",
            "Install the version of sockstream that wrote it, or a newer one",
            first_seq,
            class_=Class.PERSON,
        )
    stored = bytes(segments)
    packed = stored if version == 1 else stored[:-_SEAL_BYTES]
    damaged = records.not_as_numbered(first_seq, last_seq)
    if len(packed) % _SEGMENT.size or not packed:
        raise damaged
    batch = records.Batch(
        first_seq=first_seq,
        segments=tuple(records.Segment(*part) for part in _SEGMENT.iter_unpack(packed)),
        open=bool(open_),
        header=bytes(header),
        data=bytes(data),
        digest_before=bytes(before),
        digest_after=bytes(after),
        cut=bool(cut),
    )
    if batch.last_seq != last_seq or (version == VERSION and _sealed(batch) != stored):
        raise damaged
    return batch


def _sealed(batch: records.Batch) -> bytes:
    """The stored segments. The seal behind them holds what the digest does not."""
    packed = b"".join(_SEGMENT.pack(part.count, part.size) for part in batch.segments)
    ends = _SEALED.pack(batch.first_seq, batch.last_seq, batch.open, batch.cut)
    return packed + blake2b(ends + packed, digest_size=_SEAL_BYTES).digest()


def held(using: str) -> Held:
    """The range of sequence numbers that can still be sent."""
    first = Batch.objects.using(using).aggregate(first=Min("first_seq"))["first"]
    last = stream(using).seq
    return Held(first if first is not None else last + 1, last)


def digest_at(seq: int, using: str) -> bytes | None:
    """The running digest after record `seq`; None if the oplog can't tell any more.

    Raises WireError if the batch that tells is damaged.
    """
    if seq == 0:
        return digest.ZERO
    if seq == (row := stream(using)).seq:
        return bytes(row.digest)
    around = Batch.objects.using(using).filter(first_seq__lte=seq + 1, last_seq__gte=seq)
    stored = around.order_by("first_seq").values_list(*_STORED).first()
    if stored is None:
        return None
    batch = _loaded(stored)
    records.verify(batch)
    return records.digest_at(batch, seq)


def require_whole(using: str) -> None:
    """Raises SockstreamError if the stream does not stand where its last batch ends.

    If that batch is damaged itself, it is found when it is to be sent.
    """
    row = stream(using)
    stored = Batch.objects.using(using).order_by("last_seq").values_list(*_STORED).last()
    if stored is None:
        return
    try:
        last = _loaded(stored)
        records.verify(last)
    except WireError:
        return
    if (row.seq, bytes(row.digest)) != (last.last_seq, last.digest_after):
        raise SockstreamError(
            "digest-mismatch",
            f"The stream of database {using!r} does not stand where its oplog ends, "
            f"at record {last.last_seq}: one of the two is damaged",
            "Restore the database from a backup, or run manage.py oplog_snapshot --new-epoch",
        )


def note_ack(seq: int, using: str, epoch: bytes) -> None:
    """Remember that central has applied everything of this epoch up to `seq`.

    Nothing is noted if the stream has begun anew meanwhile: its numbers mean other records.
    """
    Stream.objects.using(using).filter(id=1, epoch=epoch, acked_seq__lt=seq).update(
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


def note_error(using: str, error: SockstreamError | None) -> None:
    """Show an error in the status beside whatever the link is doing, or none any more."""
    code, words = (error.code, str(error)) if error is not None else ("", "")
    Stream.objects.using(using).filter(id=1).update(error_code=code, error=words)


def note_session(session: int, offset: int, using: str) -> None:
    """Store the number of the session that central gave, before it is confirmed.

    `offset` is where central stands. Behind that nothing is acked any more: it may have been
    restored from a backup.
    """
    with transaction.atomic(using=using):
        stream = Stream.objects.using(using).filter(id=1)
        stream.update(session=session, welcomed=True)
        if stream.filter(acked_seq__gt=offset).update(acked_seq=offset, acked_at=timezone.now()):
            Acked.objects.using(using).filter(seq__gt=offset).delete()


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
    Acked.objects.using(using).all().delete()


def prune(using: str, retention: timedelta) -> int:
    """Remove batches that were acked `retention` ago, in short transactions.

    Returns how many were removed. To be called now and then: it notes how far central has come
    meanwhile, at most once in a hundredth of that time.
    """
    now = timezone.now()
    _note_acked(using, now - retention / _NOTES)
    notes = Acked.objects.using(using)
    end = notes.filter(at__lte=now - retention).aggregate(end=Max("seq"))["end"]
    if end is None:
        return 0
    removed = 0
    while part := _prune_some(using, end):
        removed += part
    notes.filter(seq__lt=end).delete()
    return removed


def _note_acked(using: str, before: datetime) -> None:
    """Note how far central has come, unless that was done since `before`."""
    row = stream(using)
    last = Acked.objects.using(using).order_by("seq").last()
    is_due = last is None or (last.seq < row.acked_seq and last.at <= before)
    if is_due and row.acked_at is not None:
        Acked.objects.using(using).create(seq=row.acked_seq, at=row.acked_at)


def _prune_some(using: str, end: int) -> int:
    old = Batch.objects.using(using).filter(last_seq__lte=end)
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
