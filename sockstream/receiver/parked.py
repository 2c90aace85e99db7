"""The parked records, for people: looked up, tried again, dropped.

Each change holds the stream's offset as the applier does, so that it happens between two of its
transactions, and counts in `Offset.parked_changes`, by which a running applier notices it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from ..conf import settings
from ..exceptions import SockstreamError
from ..rows import captured_models
from ..wire.errors import WireError
from .applying import progress
from .applying.applier import Applier
from .applying.faults import BLAMED, RecordFault, blame, transient, words_of
from .applying.holdings import Holdings
from .applying.integrity import checked
from .applying.owners import Owners
from .applying.parking import Parking, decoded, of_stream
from .applying.steps import Headers
from .applying.writing import Meetings, Writer
from .models import Offset, Parked
from .offsets import wait_for_locks
from .signals import records_applied

_TOGETHER_BYTES = 4 << 20
_AT_ONCE = 500
_SHOWN = 10


@dataclass
class Outcome:
    """What became of the records that were tried again: how many, and those that stay parked.

    `old` is how many were left alone, being of an earlier epoch.
    """

    applied: int = 0
    old: int = 0
    parked: list[Parked] = field(default_factory=list)


def listed(using: str, ids: Collection[int] | None = None) -> QuerySet[Parked]:
    """The parked records, or those with these ids, in their order and without their values.

    Raises SockstreamError for an id that is none.
    """
    rows = Parked.objects.using(using).select_related("source").defer("names", "layout", "record")
    if ids is not None:
        rows = rows.filter(pk__in=ids)
        known = set(rows.values_list("pk", flat=True))
        if unknown := sorted(set(ids) - known):
            raise SockstreamError(
                "not-parked",
                f"No parked record has the ID {', '.join(map(str, unknown))}",
                "manage.py oplog_parked list shows them",
            )
    return rows.order_by("source__name", "stream", "pk")


def with_dependents(using: str, ids: Collection[int]) -> list[Parked]:
    """The parked records with these ids, and those that wait behind them, directly or not.

    Raises SockstreamError for an id that is none.
    """
    return [row for offset in _offsets(using, ids) for row in _with_dependents(offset, ids, using)]


def require_dependents(rows: Iterable[Parked], ids: Collection[int]) -> None:
    """Raises SockstreamError if one of these records, which wait behind others, is not named."""
    others = [row for row in rows if row.pk not in ids]
    if not others:
        return
    named = ", ".join(str(row.pk) for row in others[:_SHOWN])
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    raise SockstreamError(
        "parked-dependents",
        f"{len(others)} parked records wait behind these: {named}{more}",
        "Drop them too, by name or with --with-dependents. Nothing was dropped",
    )


def retry(using: str, ids: Collection[int] | None = None) -> Outcome:
    """Try the records with these ids again, all without, and what waits behind them.

    A stream's records are tried in their order, in one transaction. Raises SockstreamError: an id
    that is none or of an earlier epoch, or the database will not now. What was done for the
    streams before stays done.
    """
    outcome = Outcome()
    for offset in _offsets(using, ids):
        with _holding(offset, using) as held:
            _Retry(held, ids, using).run(outcome)
    return outcome


def drop(using: str, ids: Collection[int]) -> int:
    """Delete the records with these ids; returns how many.

    Raises SockstreamError, and changes nothing, if others wait behind them that are not named.
    """
    dropped = 0
    with transaction.atomic(using=using):
        for offset in _offsets(using, ids):
            with _holding(offset, using) as held:
                rows = _with_dependents(held, ids, using)
                require_dependents(rows, ids)
                _delete(held, rows, using)
                _change(held, using, dropped=len(rows))
                dropped += len(rows)
    return dropped


class _Retry:
    """One stream's parked records on their way into the tables, in the caller's transaction."""

    def __init__(self, offset: Offset, ids: Collection[int] | None, using: str) -> None:
        self._offset = offset
        self._ids = ids
        self._using = using
        source, stream = offset.source.name, offset.stream
        allowed = {model._meta.label_lower: model for model in captured_models(settings())}
        holdings = Holdings(source, stream, using)
        self._headers = Headers(allowed, using)
        self._parking = Parking(source, stream, using, parks=True)
        owners = Owners(source, stream, using)
        self._writer = Writer(owners, holdings, using, self._parking.is_parked)
        self._write = checked(self._writer.write, holdings, using)

    def run(self, outcome: Outcome) -> None:
        """Raises SockstreamError."""
        rows = {row.seq: row for row in self._chosen(outcome)}
        self._parking.begin(self._offset, without=rows.keys())
        meetings = Meetings()
        still: dict[int, Parked] = {}
        for seqs in self._slices(rows):
            parts = [decoded(parked, self._headers) for parked in self._of_epoch(seqs)]
            meetings.add(self._parking.write(parts, self._write, self._writer.forget))
            still |= {parked.seq: parked for parked in self._parking.take()}
        applied = [row for seq, row in rows.items() if seq not in still]
        for seq, parked in still.items():
            self._note(rows[seq], parked)
        _delete(self._offset, applied, self._using)
        _change(self._offset, self._using, applied=len(applied), meetings=meetings)
        if applied:
            transaction.on_commit(partial(self._tell, applied), using=self._using)
        outcome.applied += len(applied)
        outcome.parked += [rows[seq] for seq in still]

    def _chosen(self, outcome: Outcome) -> list[Parked]:
        """Raises SockstreamError if one is named that a snapshot has made obsolete."""
        rows = _with_dependents(self._offset, self._ids, self._using)
        epoch = bytes(self._offset.epoch).hex()
        old = [row for row in rows if row.epoch != epoch]
        if old and self._ids is not None:
            raise SockstreamError(
                "parked-epoch",
                f"The parked record {old[0].pk} is of an earlier epoch of its stream: the snapshot "
                "that began this one has brought its row as it is now",
                f"Run manage.py oplog_parked drop {old[0].pk}",
            )
        outcome.old += len(old)
        return [row for row in rows if row.epoch == epoch]

    def _of_epoch(self, seqs: Collection[int]) -> QuerySet[Parked]:
        mine = of_stream(self._offset, self._using)
        found: QuerySet[Parked] = mine.filter(
            epoch=bytes(self._offset.epoch).hex(), seq__in=seqs
        ).order_by("seq")
        return found

    def _slices(self, rows: dict[int, Parked]) -> Iterator[list[int]]:
        """The numbers, so many together that their records are no burden for the memory."""
        taken: list[int] = []
        size = 0
        for start in range(0, len(rows), _AT_ONCE):
            some = self._of_epoch(list(rows)[start : start + _AT_ONCE])
            for seq, length in some.values_list("seq", Length("record")):
                if taken and size + length > _TOGETHER_BYTES:
                    yield taken
                    taken, size = [], 0
                taken.append(seq)
                size += length
        if taken:
            yield taken

    def _note(self, row: Parked, parked: Parked) -> None:
        """Why the record stays parked, which may be for another reason than before."""
        row.retried_at = timezone.now()
        changed = ("cause", "behind", "absent", "code", "error")
        for name in changed:
            setattr(row, name, getattr(parked, name))
        row.save(using=self._using, update_fields=[*changed, "retried_at"])

    def _tell(self, applied: Sequence[Parked]) -> None:
        records_applied.send_robust(
            Applier,
            source=self._offset.source.name,
            stream=self._offset.stream,
            using=self._using,
            first_seq=applied[0].seq,
            last_seq=applied[-1].seq,
            counts=lambda: dict(Counter(row.model for row in applied)),
        )


def _offsets(using: str, ids: Collection[int] | None) -> list[Offset]:
    """The streams of these parked records, or of all; always in the same order."""
    streams = set(listed(using, ids).values_list("source_id", "stream"))
    offsets = Offset.objects.using(using).select_related("source").order_by("pk")
    return [each for each in offsets if (each.source_id, each.stream) in streams]


def _with_dependents(offset: Offset, ids: Collection[int] | None, using: str) -> list[Parked]:
    """Those of the stream's parked records, and what waits behind them, in their order."""
    rows = of_stream(offset, using).select_related("source").order_by("epoch", "seq")
    rows = list(rows.defer("names", "layout", "record"))
    if ids is None:
        return rows
    behind: dict[tuple[str, int], list[Parked]] = {}
    for row in rows:
        behind.setdefault((row.epoch, row.behind), []).append(row)
    found = [row for row in rows if row.pk in ids]
    taken = {row.pk for row in found}
    for row in found:
        more = [each for each in behind.get((row.epoch, row.seq), ()) if each.pk not in taken]
        taken.update(each.pk for each in more)
        found += more
    return [row for row in rows if row.pk in taken]


@contextmanager
def _holding(offset: Offset, using: str) -> Iterator[Offset]:
    """A transaction with the stream's offset locked. Raises SockstreamError for what goes wrong."""
    try:
        with transaction.atomic(using=using):
            wait_for_locks(using)
            mine = Offset.objects.using(using).filter(pk=offset.pk)
            mine.update(parked_changes=F("parked_changes"))  # a write first, see progress.hold
            if connections[using].vendor == "postgresql":
                with connections[using].cursor() as cursor:
                    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
            yield progress.locked(mine.select_related("source"), using).get()
    except RecordFault as fault:
        raise _in_words(blame(fault)) from fault
    except WireError as error:
        raise _in_words(error) from error
    except (InterfaceError, *BLAMED) as error:
        if (failed := transient(error)) is not None:
            raise _in_words(failed) from error
        if not isinstance(error, DatabaseError):
            raise
        words = f"Central's database refuses: {words_of(error)}"
        raise SockstreamError("record-refused", words, "Nothing was changed") from error


def _in_words(error: WireError) -> SockstreamError:
    return SockstreamError(error.code, error.words, f"{error.mend}. Nothing was changed")


def _delete(offset: Offset, rows: Sequence[Parked], using: str) -> None:
    keys = [row.pk for row in rows]
    for start in range(0, len(keys), _AT_ONCE):
        of_stream(offset, using).filter(pk__in=keys[start : start + _AT_ONCE]).delete()


def _change(
    offset: Offset,
    using: str,
    *,
    dropped: int = 0,
    applied: int = 0,
    meetings: Meetings | None = None,
) -> None:
    met = meetings or Meetings()
    Offset.objects.using(using).filter(pk=offset.pk).update(
        parked=F("parked") - dropped - applied,
        parked_changes=F("parked_changes") + 1,
        records_applied=F("records_applied") + applied,
        inserts_met=F("inserts_met") + met.inserts_met,
        updates_missed=F("updates_missed") + met.updates_missed,
        deletes_missed=F("deletes_missed") + met.deletes_missed,
    )


__all__ = ["Outcome", "drop", "listed", "require_dependents", "retry", "with_dependents"]
