"""The parked rows, for people: looked up, tried again, dropped.

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
from django.utils import timezone

from sockstream.conf import settings
from sockstream.exceptions import SockstreamError
from sockstream.wire.errors import WireError

from .applying.applier import Applier
from .applying.faults import BLAMED, RecordFault, blame, transient, words_of
from .applying.parking import entries
from .applying.parking.judge import Parking
from .applying.parking.replaying import Replay
from .applying.parts import Headers, allowed_models
from .applying.tables.effects import Meetings
from .applying.tables.integrity import checked
from .applying.tables.writing import Writer
from .dialects import dialect
from .models import Offset, Parked
from .signals import records_applied
from .streams.offsets import wait_for_locks

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
                entries.delete(held, [row.pk for row in rows], using)
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
        allowed = allowed_models(settings())
        self._parking = Parking(source, stream, using, parks=True)
        self._writer = Writer(source, stream, using, self._parking.is_parked)
        write = partial(self._writer.write, whole=True)
        require = self._writer.require
        self._write = checked(write, self._writer.holdings, using, require=require)
        self._replay = Replay(offset, self._parking, Headers(allowed, using), self._writer, using)

    def run(self, outcome: Outcome) -> None:
        """Raises SockstreamError."""
        self._parking.begin(self._offset)
        rows = self._chosen(outcome)
        mine = entries.of_stream(self._offset, self._using).filter(pk__in=[row.pk for row in rows])
        mine.update(retried_at=timezone.now())
        done = self._replay.run(rows, self._write, least=2)
        self._writer.finish()
        _change(self._offset, self._using, applied=len(done.applied), meetings=done.meetings)
        if done.applied:
            transaction.on_commit(partial(self._tell, done.applied), using=self._using)
        outcome.applied += len(done.applied)
        outcome.parked += done.parked.values()

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

    def _tell(self, applied: Sequence[Parked]) -> None:
        records_applied.send_robust(
            Applier,
            source=self._offset.source.name,
            stream=self._offset.stream,
            using=self._using,
            first_seq=applied[0].seq,
            last_seq=max(row.last_seq for row in applied),
            counts=lambda: dict(Counter(row.model for row in applied)),
        )


def _offsets(using: str, ids: Collection[int] | None) -> list[Offset]:
    """The streams of these parked records, or of all; always in the same order."""
    streams = set(listed(using, ids).values_list("source_id", "stream"))
    offsets = Offset.objects.using(using).select_related("source").order_by("pk")
    return [each for each in offsets if (each.source_id, each.stream) in streams]


def _with_dependents(offset: Offset, ids: Collection[int] | None, using: str) -> list[Parked]:
    """Those of the stream's parked records, and what waits behind them, in their order."""
    mine = entries.of_stream(offset, using).select_related("source").order_by("epoch", "seq")
    rows = list(mine.defer("layout", "record"))
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
        strict = dialect(using).strict(connections[using])
        with strict, transaction.atomic(using=using):
            wait_for_locks(using)
            mine = Offset.objects.using(using).filter(pk=offset.pk)
            mine.update(parked_changes=F("parked_changes"))  # a write locks it on any database
            with connections[using].cursor() as cursor:
                dialect(using).defer_constraints(cursor)
            yield mine.select_related("source").get()
    except RecordFault as fault:
        raise _in_words(blame(fault)) from fault
    except WireError as error:
        raise _in_words(error) from error
    except (InterfaceError, *BLAMED) as error:
        if (failed := transient(error)) is not None:
            mend = "Try again, perhaps the stream is just being applied. Nothing was changed"
            raise SockstreamError(failed.code, failed.words, mend) from error
        if not isinstance(error, DatabaseError):
            raise
        words = f"Central's database refuses: {words_of(error)}"
        raise SockstreamError("record-refused", words, "Nothing was changed") from error


def _in_words(error: WireError) -> SockstreamError:
    mend = f"{error.mend}. Nothing was changed" if error.mend else "Nothing was changed"
    return SockstreamError(error.code, error.words, mend)


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
