"""Parked rows tried again, in the transaction of whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from django.db.models.functions import Length

from sockstream.receiver.applying.halving import Write, write_halving
from sockstream.receiver.applying.parts import Headers
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.models import Offset, Parked

from . import entries
from .judge import Parking

TOGETHER_BYTES = 4 << 20

_AT_ONCE = 500
_NOTED = (*entries.REASON, "absent")


@dataclass(slots=True)
class Replayed:
    """What came of it: the rows that stay, by their first records; those that are applied, and no
    longer stored.
    """

    parked: dict[int, Parked]
    applied: list[Parked] = field(default_factory=list)
    meetings: Meetings = field(default_factory=Meetings)


class Replay:
    """Applies parked rows of the stream whose offset is held."""

    def __init__(
        self, offset: Offset, parking: Parking, headers: Headers, writer: Writer, using: str
    ) -> None:
        self._offset = offset
        self._parking = parking
        self._headers = headers
        self._writer = writer
        self._using = using

    def run(self, rows: Iterable[Parked], write: Write, *, least: int = 1) -> Replayed:
        """Try these rows of the offset's epoch, which come in the order of their first records, as
        long as that makes them fewer: one may need another that comes after it.

        `least`: how often they are tried anyway. A writer learns from the first failure which
        unique values are in each other's way.

        Raises RecordFault for what is wrong with more than a record, and what `write` raises of
        the database's failures.
        """
        done = Replayed({row.seq: row for row in rows})
        still: dict[int, Parked] = {}
        for attempt in count(1):
            still = self._try(done, write)
            applied = [row for seq, row in done.parked.items() if seq not in still]
            entries.delete(self._offset, [row.pk for row in applied], self._using)
            done.applied += applied
            done.parked = {seq: row for seq, row in done.parked.items() if seq in still}
            if not done.parked or not (applied or attempt < least):
                break
        for seq, row in done.parked.items():
            self._note(row, still[seq])
        return done

    def _try(self, done: Replayed, write: Write) -> dict[int, Parked]:
        """Write those that are parked, once; returns what is set aside again."""
        self._parking.let_go(done.parked.values())
        still: dict[int, Parked] = {}
        for seqs in self._slices(list(done.parked)):
            stored = entries.of_epoch(self._offset, self._using).filter(seq__in=seqs)
            parts = [entries.decoded(parked, self._headers) for parked in stored]
            forget = self._writer.forget
            done.meetings.add(write_halving(parts, write, forget, self._parking, self._using))
            still |= {parked.seq: parked for parked in self._parking.take()}
        return still

    def _slices(self, seqs: list[int]) -> Iterator[Sequence[int]]:
        """The rows, so many together that their records are no burden for the memory."""
        taken: list[int] = []
        size = 0
        for start in range(0, len(seqs), _AT_ONCE):
            some = entries.of_epoch(self._offset, self._using)
            some = some.filter(seq__in=seqs[start : start + _AT_ONCE])
            for seq, length in some.values_list("seq", Length("record")):
                if taken and size + length > TOGETHER_BYTES:
                    yield taken
                    taken, size = [], 0
                taken.append(seq)
                size += length
        if taken:
            yield taken

    def _note(self, row: Parked, parked: Parked) -> None:
        """Why the row stays parked, which may be for another reason than before."""
        changed = [name for name in _NOTED if getattr(row, name) != getattr(parked, name)]
        for name in changed:
            setattr(row, name, getattr(parked, name))
        if changed:
            row.save(using=self._using, update_fields=changed)
