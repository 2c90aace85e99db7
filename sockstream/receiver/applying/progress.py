"""A stream's row in the table of offsets, held and moved in the transaction of the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import connections
from django.db.models import QuerySet
from django.utils import timezone

from sockstream.databases import own_tables
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Offset, Source, State
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError

from .faults import Fenced, disabled
from .parts import Step
from .tables.effects import Meetings

_MEETINGS = ("inserts_met", "updates_missed", "deletes_missed")
_UNMOVED = ("id", "source_id", "stream", "epoch", "seq", "digest", "session", "fence")
# In the order of the model's fields, as from_db wants them.
_STAGED = ("staged_seq", "staged_digest", "staged_epoch", "staged_bytes", "staged_tried")
_LATER = ("state", "error_seq", "parked", "parked_changes", *_STAGED)
_HELD = (*_UNMOVED[:4], "pending_epoch", *_UNMOVED[4:], *_LATER)
_MINE = (
    "{stream} = %s AND {fence} = %s AND {source_id} = "
    f"(SELECT id FROM {Source._meta.db_table} WHERE name = %s AND NOT disabled)"
)
# Looked at by the transaction's last statement: a person may disable the source while it is at
# work, and does not wait for the offset's lock.
_ENABLED = (
    f"EXISTS (SELECT 1 FROM {Source._meta.db_table} s WHERE s.id = {{source_id}} AND NOT disabled)"
)


@dataclass(slots=True)
class Progress:
    """Where a stream stands: as committed, and as applied in the transaction at work.

    `records` are those that it went past, `parked` how many of them were set aside. `stored` is
    what the table holds, which is of another epoch before the first commit of this one.
    """

    row: Offset
    seq: int
    digest: bytes
    stored: dict[str, Any]
    records: int = 0
    parked: int = 0
    meetings: Meetings = field(default_factory=Meetings)

    def after(self, steps: Iterable[Step]) -> list[Step]:
        """The steps that are not applied yet.

        Raises WireError: gap if some are missing before them, history-diverged if the stream that
        they continue is not the one that was applied.
        """
        fresh: list[Step] = []
        seq, digest = self.seq, self.digest
        for step in steps:
            if step.last_seq > seq:
                self._check(step, seq, digest)
                fresh.append(step)
                seq, digest = step.last_seq, step.digest_after
            elif step.last_seq == seq and step.digest_after != digest:
                raise _diverged(seq)
        return fresh

    def _check(self, step: Step, seq: int, digest: bytes) -> None:
        if step.first_seq > seq + 1:
            words = f"Record {seq + 1} was to come next, and {step.first_seq} came"
            raise WireError("gap", words, seq=seq + 1)
        if step.first_seq <= seq or step.digest_before != digest:
            raise _diverged(seq)

    def advance(self, step: Step, meetings: Meetings) -> None:
        """The records up to the end of `step` are written."""
        self.records += step.last_seq - self.seq
        self.seq, self.digest = step.last_seq, step.digest_after
        self.meetings.add(meetings)


def _diverged(seq: int) -> WireError:
    return WireError(
        "history-diverged",
        f"The site and central hold different histories up to record {seq}",
        "Nothing was changed; find out which end was restored or copied",
        seq,
    )


def hold(source: str, stream: str, fence: int, using: str) -> Progress:
    """Lock the stream's offset until the transaction ends.

    On SQLite a transaction that begins by reading can't always write later, so it begins with a
    write that changes nothing. Raises Fenced if the stream has a newer session, WireError if the
    source is disabled.
    """
    lock = dialect(using).locks_rows
    if not lock:
        own_tables.update(Offset, {"fence": fence}, {"stream": stream, "fence": fence}, using)
    where = _MINE + " FOR UPDATE" * lock
    for values in own_tables.select(Offset, _HELD, where, [stream, fence, source], using):
        return _begun(Offset.from_db(using, _HELD, values))
    raise _shut_out(source, stream, using)


def _begun(row: Offset) -> Progress:
    """An epoch that central has only heard of begins at nothing."""
    stored = {name: getattr(row, name) for name in _UNMOVED}
    if row.pending_epoch:
        row.epoch, row.seq, row.digest = row.pending_epoch, 0, ZERO
    return Progress(row, row.seq, bytes(row.digest), stored)


def _shut_out(source: str, stream: str, using: str) -> Exception:
    """Why a stream is not ours any more."""
    if (out := Source.objects.using(using).filter(name=source, disabled=True).first()) is not None:
        return disabled(out)
    return Fenced(f"{source}/{stream} has a newer session")


def locked(rows: QuerySet[Offset], using: str) -> QuerySet[Offset]:
    """The rows, locked when they are read; of what they are joined with nothing, if possible."""
    return dialect(using).locked(rows, connections[using])


def move(progress: Progress, using: str) -> None:
    """Move the offset to where the records stand, if it still is where it was held, and the source
    was not disabled meanwhile.

    Raises Fenced, or WireError source-disabled, if not: the transaction must not commit.
    """
    row = progress.row
    changes: dict[str, Any] = {
        "epoch": bytes(row.epoch),
        "pending_epoch": b"",
        "pending_parent": b"",
        "seq": progress.seq,
        "digest": progress.digest,
        "applied_at": timezone.now(),
    }
    if row.state == State.STOPPED and row.error_seq <= progress.seq:
        changes |= dict.fromkeys(("error_code", "error", "error_model", "error_key"), "")
        changes |= {"error_seq": 0, "error_at": None, "state": State.CONNECTED}
    more = {name: getattr(progress.meetings, name) for name in _MEETINGS}
    more |= {"parked": progress.parked, "records_applied": progress.records - progress.parked}
    if not own_tables.update(Offset, changes, progress.stored, using, more=more, also=_ENABLED):
        raise _shut_out(Source.objects.using(using).get(pk=row.source_id).name, row.stream, using)


def note_stop(source: str, stream: str, fence: int, using: str, error: WireError) -> None:
    """Note what stopped the stream; nothing if a newer session owns it."""
    mine = Offset.objects.using(using).filter(source__name=source, stream=stream, fence=fence)
    mine.update(
        state=State.STOPPED,
        error_code=error.code,
        error=str(error),
        error_model=error.model,
        error_key=error.key,
        error_seq=error.seq,
        error_at=timezone.now(),
    )
