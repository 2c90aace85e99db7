"""Parked records tried again, in the transaction of whoever asks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from django.db.models import QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from sockstream.receiver.applying.halving import Write
from sockstream.receiver.applying.parts import Headers
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.models import Offset, Parked

from .judge import Parking, decoded, of_stream

TOGETHER_BYTES = 4 << 20

_AT_ONCE = 500
_REASONS = ("cause", "behind", "absent", "code", "error")


@dataclass(slots=True)
class Replayed:
    """What came of it: the records that are applied, and no longer stored; those that stay."""

    applied: list[Parked] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    meetings: Meetings = field(default_factory=Meetings)


class Replay:
    """Applies parked records of the stream whose offset is held."""

    def __init__(
        self, offset: Offset, parking: Parking, headers: Headers, writer: Writer, using: str
    ) -> None:
        self._offset = offset
        self._parking = parking
        self._headers = headers
        self._writer = writer
        self._using = using

    def run(self, rows: Mapping[int, Parked], write: Write) -> Replayed:
        """Try these records of the offset's epoch, given by their numbers in ascending order.

        Raises RecordFault for what is wrong with more than a record, and what `write` raises of
        the database's failures.
        """
        self._parking.reload(without=rows.keys())
        done = Replayed()
        still: dict[int, Parked] = {}
        for seqs in self._slices(list(rows)):
            parts = [decoded(parked, self._headers) for parked in self._stored(seqs)]
            done.meetings.add(self._parking.write(parts, write, self._writer.forget))
            still |= {parked.seq: parked for parked in self._parking.take()}
        for seq, row in rows.items():
            if seq in still:
                self._note(row, still[seq])
            (done.parked if seq in still else done.applied).append(row)
        delete(self._offset, done.applied, self._using)
        return done

    def _stored(self, seqs: Collection[int]) -> QuerySet[Parked]:
        return of_epoch(self._offset, self._using).filter(seq__in=seqs)

    def _slices(self, seqs: list[int]) -> Iterator[list[int]]:
        """The numbers, so many together that their records are no burden for the memory."""
        taken: list[int] = []
        size = 0
        for start in range(0, len(seqs), _AT_ONCE):
            some = self._stored(seqs[start : start + _AT_ONCE])
            for seq, length in some.values_list("seq", Length("record")):
                if taken and size + length > TOGETHER_BYTES:
                    yield taken
                    taken, size = [], 0
                taken.append(seq)
                size += length
        if taken:
            yield taken

    def _note(self, row: Parked, parked: Parked) -> None:
        """Why the record stays parked, which may be for another reason than before."""
        row.retried_at = timezone.now()
        for name in _REASONS:
            setattr(row, name, getattr(parked, name))
        row.save(using=self._using, update_fields=[*_REASONS, "retried_at"])


def of_epoch(offset: Offset, using: str) -> QuerySet[Parked]:
    """The stream's parked records that can be applied, in their order."""
    mine = of_stream(offset, using).filter(epoch=bytes(offset.epoch).hex())
    return mine.order_by("seq")


def delete(offset: Offset, rows: Collection[Parked], using: str) -> None:
    """Delete parked records of the stream."""
    keys = [row.pk for row in rows]
    for start in range(0, len(keys), _AT_ONCE):
        of_stream(offset, using).filter(pk__in=keys[start : start + _AT_ONCE]).delete()
