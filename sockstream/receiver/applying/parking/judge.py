"""Records set aside: kept whole in a table of central's, in the transaction of their group.

A Parking judges the records of one stream. Nothing is asked of the database while nothing is
parked: the offset's row, which is held anyway, says how many there are and whether that changed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from django.db import connections, transaction
from django.db.models import QuerySet
from django.utils import timezone

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.faults import BLAMED, blame, can_be_parked, transient
from sockstream.receiver.applying.halving import Write, fault_of, write_halving
from sockstream.receiver.applying.parts import Headers, Part
from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.integrity import is_there
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Cause, Offset, Parked
from sockstream.wire.digest import ZERO, extend
from sockstream.wire.errors import WireError
from sockstream.wire.records import BEGIN, INSERT, SAVE, Batch, BatchBuilder, Segment, segments

from .rows import Behind, ParkedRows, names_of, packed_names, unpacked_names

_AT_ONCE = 100
_LARGE = 100_000  # bytes

logger = logging.getLogger("sockstream.receiver")


class Parking:
    """Decides which records of a stream are set aside, and remembers which rows have some.

    `parks`: what is at fault is parked, else it stops the stream. `limit`: the most parked records
    of a stream, None for any number.
    """

    def __init__(
        self,
        source: str,
        stream: str,
        using: str,
        *,
        parks: bool,
        limit: int | None = None,
    ) -> None:
        self.parks = parks
        self.labels: Counter[str] = Counter()
        self._name = f"{source}/{stream}"
        self._using = using
        self._limit = limit
        self._offset: Offset
        self._rows = ParkedRows()
        self._known: int | None = None
        self._count = 0
        self._fresh: list[tuple[Part, Parked]] = []
        self._told: list[tuple[int, str, str, str]] = []

    def begin(self, offset: Offset) -> None:
        """A transaction begins that holds the stream's offset."""
        self._offset = offset
        self._count = offset.parked
        self._fresh.clear()
        self._told.clear()
        self.labels.clear()
        if self._known != offset.parked_changes:
            self._rows = self._load() if offset.parked else ParkedRows()
            self._known = offset.parked_changes

    def reload(self, without: Collection[int]) -> None:
        """Let the records with these numbers, which are stored, count as not parked."""
        self._rows = self._load(without)
        self._count -= len(without)
        self._known = None

    def _load(self, without: Collection[int] = ()) -> ParkedRows:
        """Those of another epoch hold nobody up: a snapshot has brought their rows anew."""
        found = ParkedRows()
        parked = of_stream(self._offset, self._using).filter(epoch=bytes(self._offset.epoch).hex())
        for seq, label, names, absent in parked.values_list("seq", "model", "names", "absent"):
            if seq not in without:
                found.add(label, unpacked_names(bytes(names)), seq, absent=absent)
        found.mark()
        return found

    def screen(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The records that depend on no parked one; the others are set aside.

        Raises RecordFault if they may not be, Refusal for a layout that central does not know.
        """
        if not self._rows:
            return parts
        for part in parts:
            for indexes in part.layouts.values():
                for index in indexes:
                    part.header.plan(index)
        return [kept for part in parts for kept in self._split(part)]

    def _split(self, part: Part) -> Iterator[Part]:
        indexes = {index for some in part.layouts.values() for index in some}
        plans = {index: part.header.plan(index) for index in indexes}
        start = 0
        if any(map(self._rows.concerns, plans.values())):
            for at, (op, index, values) in enumerate(part.records):
                behind = self._rows.behind(plans[index], op, values)
                if behind is not None:
                    if start < at:
                        yield part.slice(start, at)
                    start = at + 1
                    self._set_aside(part.slice(at, at + 1), _waits(behind), behind)
        if start < len(part.records):
            yield part.slice(start, len(part.records)) if start else part

    def refuse(self, part: Part, error: Exception) -> None:
        """Set the one record of `part` aside. Raises RecordFault if it may not be."""
        is_mark = part.records[0][0] >= BEGIN
        if is_mark or not (self.parks and can_be_parked(error)):
            raise fault_of(part) from error
        fault = fault_of(part)
        fault.__cause__ = error
        met = blame(fault)
        behind = None
        if met.code == "missing-reference":
            plan, _, values = _opened(part)
            behind = self._rows.refers(plan, values)
        self._set_aside(part, met, behind or Behind(Cause.FAULT, 0))

    def _set_aside(self, part: Part, error: WireError | Refusal, behind: Behind) -> None:
        fault = fault_of(part)
        if not self.parks:
            raise fault from error
        if self._limit is not None and self._count >= self._limit:
            raise fault from _too_many(self._count, error.words)
        plan, op, values = _opened(part)
        names = names_of(plan, op, values)
        parked = Parked(
            source_id=self._offset.source_id,
            stream=self._offset.stream,
            epoch=bytes(self._offset.epoch).hex(),
            seq=fault.seq,
            op=op,
            model=fault.model,
            key=fault.key,
            names=packed_names(names),
            cause=behind.cause,
            behind=behind.seq,
            absent=op == INSERT or (op == SAVE and self._is_absent(plan, values)),
            code=error.code,
            error=error.words,
            parked_at=timezone.now(),
        )
        parked.layout, parked.record = encoded(part)
        self._known = None
        self._count += 1
        self._rows.add(fault.model, names, fault.seq, absent=parked.absent)
        self._fresh.append((part, parked))

    def _is_absent(self, plan: Plan, values: Sequence[Any]) -> bool:
        """Whether central lacks the row of a record that it cannot write."""
        try:
            with transaction.atomic(using=self._using):
                return not is_there(plan, values, self._using)
        except BLAMED as error:
            if transient(error):
                raise
            return True  # a key that the database cannot read is no row's

    def is_parked(self, label: str, key: Sequence[Any]) -> bool:
        """Whether the row has parked records, and so stays as it is until they are applied."""
        return self._rows.has(label, key)

    def write(self, parts: Sequence[Part], write: Write, forget: Callable[[], None]) -> Meetings:
        """Write the parts in ever smaller ones, and set aside what is at fault.

        What was set aside is tried again as long as that makes it fewer: it may have needed a
        record after it. Raises RecordFault, and database errors that blame no record.
        """
        before = len(self._fresh)
        self._rows.mark()
        meetings = write_halving(parts, write, forget, self, self._using)
        while again := self._take_back(before):
            meetings.add(write_halving(again, write, forget, self, self._using))
            if len(self._fresh) - before == len(again):
                break
        return meetings

    def _take_back(self, before: int) -> list[Part]:
        """What was set aside since then, as if it had not been."""
        parts = sorted((part for part, _ in self._fresh[before:]), key=_first_seq)
        del self._fresh[before:]
        self._rows.take_back()
        self._count -= len(parts)
        return parts

    def take(self) -> list[Parked]:
        """What was set aside since this was asked last; it is not stored."""
        taken = [parked for _, parked in self._fresh]
        self._fresh.clear()
        return taken

    def keep(self) -> int:
        """Store what was set aside, in the transaction at work; returns how many records.

        Raises RecordFault for one that the database has no room for in a statement.
        """
        self._require_room()
        kept = self.take()
        if kept:
            for some in _in_pieces(kept):
                Parked.objects.using(self._using).bulk_create(some)
            self.labels.update(parked.model for parked in kept)
            self._told += [(p.seq, p.model, p.key, p.error) for p in kept]
        return len(kept)

    def _require_room(self) -> None:
        large = [fresh for fresh in self._fresh if _size(fresh[1]) > _LARGE]
        if not large:
            return
        with connections[self._using].cursor() as cursor:
            most = dialect(self._using).most_bytes(cursor)
        for part, parked in large:
            # A driver may write two bytes for each.
            if most is not None and 2 * _size(parked) > most:
                raise fault_of(part) from Refusal(
                    "record-too-large",
                    f"It cannot be applied ({parked.error}), and is too large to be parked: "
                    f"central's database accepts statements of {most:,} bytes",
                    "Mend the cause, or raise the limit of central's database",
                )

    def release(self, applied: Collection[Parked]) -> None:
        """These records, which the transaction had stored, are applied after all."""
        gone = {parked.seq for parked in applied}
        self._told = [told for told in self._told if told[0] not in gone]
        self.labels.subtract(parked.model for parked in applied)

    def committed(self) -> None:
        """The transaction has ended well: what it has parked is known, and worth a line each."""
        if self._told:
            self._known = self._offset.parked_changes
        for seq, model, key, words in self._told:
            logger.warning("%s: parked %d (%s, key %s): %s", self._name, seq, model, key, words)
        self._told.clear()


def _size(parked: Parked) -> int:
    return len(parked.record) + len(parked.layout) + len(parked.names)


def _in_pieces(kept: Sequence[Parked]) -> Iterator[list[Parked]]:
    """Some at a time, for statements of a moderate size; a large one alone."""
    piece: list[Parked] = []
    size = 0
    for parked in kept:
        if piece and (len(piece) == _AT_ONCE or size + _size(parked) > _LARGE):
            yield piece
            piece, size = [], 0
        piece.append(parked)
        size += _size(parked)
    if piece:
        yield piece


def of_stream(offset: Offset, using: str) -> QuerySet[Parked]:
    """The parked records of the stream whose offset this is, of any epoch."""
    return Parked.objects.using(using).filter(source_id=offset.source_id, stream=offset.stream)


def encoded(part: Part) -> tuple[bytes, bytes]:
    """The layout and the one record of `part`, as they are stored."""
    op, index, values = part.records[0]
    builder = BatchBuilder(part.first_seq, ZERO)
    builder.add(op, part.header.layout(index), values)
    batch = builder.build()
    return batch.header, batch.data


def decoded(parked: Parked, headers: Headers) -> Part:
    """A parked record as the applier writes it. Raises WireError if it is not what was stored."""
    header, data = bytes(parked.layout), bytes(parked.record)
    digest = extend(ZERO, header, data)
    batch = Batch(parked.seq, (Segment(1, len(data)),), False, header, data, ZERO, digest)
    (segment,) = segments(batch)
    return Part(headers.get(header), parked.seq, segment.records)


def _opened(part: Part) -> tuple[Plan, int, Sequence[Any]]:
    op, index, values = part.records[0]
    return part.header.plan(index), op, values


def _first_seq(part: Part) -> int:
    return part.first_seq


def _waits(behind: Behind) -> Refusal:
    what = "of the same row" if behind.cause is Cause.ROW else "of a row that it depends on"
    return Refusal(
        "behind-parked",
        f"Record {behind.seq} {what} is parked",
        "Run manage.py oplog_parked retry or drop at central",
    )


def _too_many(count: int, words: str) -> Refusal:
    return Refusal(
        "too-many-parked",
        f"{count} records of this stream are parked, which is as many as may be. {words}",
        'Mend what they met, then run manage.py oplog_parked retry --all; or raise "PARKED_MAX"',
    )
