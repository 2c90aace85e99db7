"""Rows set aside: their last records, kept whole in a table of central's, in the transaction of
their group.

A Parking judges the records of one stream. Nothing is asked of the database while nothing is
parked: the offset's row, which is held anyway, says how many there are and whether that changed.

A record carries its whole row, so of a parked row the last one is kept. If that is a delete and
central never had the row, there is nothing left to be kept.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import connections, transaction
from django.utils import timezone

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.faults import BLAMED, blame, can_be_parked, transient
from sockstream.receiver.applying.halving import fault_of
from sockstream.receiver.applying.parts import Part
from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.applying.tables.integrity import is_there
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Cause, Offset, Parked
from sockstream.wire.errors import WireError
from sockstream.wire.records import BEGIN, DELETE, INSERT, SAVE, UPDATE

from . import entries
from .rows import ParkedRows, Row, key_name, names_of, packed_names, unpacked_names

logger = logging.getLogger("sockstream.receiver")

_Key = tuple[str, bytes]


class _Reason(NamedTuple):
    """Why a row is parked, as its entry has it."""

    cause: Cause
    behind: int
    code: str
    error: str


@dataclass(slots=True)
class _Aside:
    """A row that the transaction at work has set aside, with its last record.

    `reason`: None if what is stored of it stays. `stored`: the table has an entry of the row.
    `records`: how many of the transaction's it stands for. `gone`: it needs no entry any more.
    """

    part: Part
    parked: Parked
    reason: _Reason | None
    stored: bool
    records: int
    gone: bool = False

    @property
    def change(self) -> int:
        """How many rows more are parked with it."""
        return int(not self.gone) - int(self.stored)


class _Told(NamedTuple):
    line: str
    label: str
    records: int


class Parking:
    """Decides which records of a stream are set aside, and remembers which rows have some.

    `parks`: what is at fault is parked, else it stops the stream. `limit`: the most parked rows of
    a stream, None for any number. `refused`: a record of the transaction at work was at fault.
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
        self.refused = False
        self._name = f"{source}/{stream}"
        self._using = using
        self._limit = limit
        self._offset: Offset
        self._rows = ParkedRows()
        self._known: int | None = None
        self._count = 0
        self._fresh: dict[_Key, _Aside] = {}
        self._told: dict[int, _Told] = {}

    def begin(self, offset: Offset) -> None:
        """A transaction begins that holds the stream's offset."""
        self._offset = offset
        self._count = offset.parked
        self.refused = False
        self._fresh.clear()
        self._told.clear()
        if self._known != offset.parked_changes:
            self._rows = self._load() if offset.parked else ParkedRows()
            self._known = offset.parked_changes

    def let_go(self, rows: Iterable[Parked]) -> None:
        """Let these rows, which are stored, count as not parked."""
        for row in rows:
            self._rows.put(row.model, unpacked_names(bytes(row.names))[""], None)
            self._count -= 1
        self._known = None

    def _load(self) -> ParkedRows:
        """Those of another epoch hold nobody up: a snapshot has brought their rows anew."""
        found = ParkedRows()
        parked = entries.of_epoch(self._offset, self._using)
        for seq, label, stored, absent in parked.values_list("seq", "model", "names", "absent"):
            names = unpacked_names(bytes(stored))
            found.put(label, names[""], Row(seq, absent, names))
        return found

    def screen(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The records that depend on no parked row; the others are set aside.

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
            for at, record in enumerate(part.records):
                if self._waits(plans[record[1]], record, part, at):
                    if start < at:
                        yield part.slice(start, at)
                    start = at + 1
        if start < len(part.records):
            yield part.slice(start, len(part.records)) if start else part

    def _waits(self, plan: Plan, record: Sequence[Any], part: Part, at: int) -> bool:
        """Whether a record depends on a parked row, and so was set aside."""
        op, _, values = record
        if op >= BEGIN:
            return False
        own = self._rows.find(plan.label, values[: plan.key_width])
        if behind := self._rows.awaited(plan, op, values, own):
            self._set_aside(
                part.slice(at, at + 1), _waiting(f"{behind} of a row that it depends on"), behind
            )
        elif own is not None:
            same = self._fresh.get((plan.label, own.names[""]))
            if same is not None and same.part.first_seq > part.first_seq + at:
                return False  # only a later record of the row is set aside
            self._set_aside(part.slice(at, at + 1), _waiting(f"{own.seq} of the same row"))
        return bool(behind or own)

    def refuse(self, part: Part, error: Exception) -> None:
        """Set the one record of `part` aside. Raises RecordFault if it may not be."""
        is_mark = part.records[0][0] >= BEGIN
        if is_mark or not (self.parks and can_be_parked(error)):
            raise fault_of(part) from error
        fault = fault_of(part)
        fault.__cause__ = error
        met = blame(fault)
        behind = 0
        if met.code == "missing-reference":
            plan, _, values = _opened(part)
            behind = self._rows.refers(plan, values)
        self._set_aside(part, met, behind)
        self.refused = True

    def _set_aside(self, part: Part, error: WireError | Refusal, behind: int = 0) -> None:
        """`behind`: the first record of the other parked row that it waits for."""
        fault = fault_of(part)
        if not self.parks:
            raise fault from error
        plan, op, values = _opened(part)
        known = own = self._rows.find(plan.label, values[: plan.key_width])
        if known is None and self._limit is not None and self._count >= self._limit:
            raise fault from _too_many(self._count, error.words)
        key = plan.label, key_name(plan, values)
        same = self._fresh.get(key)
        cause = Cause.REFERENCE if behind else Cause.FAULT
        met = _Reason(cause, behind, error.code, error.words)
        reason = met if own is None or behind else same.reason if same else None
        if same is not None and fault.seq < same.part.first_seq:
            # A later record of the row was set aside before; it still is the last one.
            own = Row(fault.seq, self._is_absent(plan, op, values), {})
            reason = same.reason if same.reason and same.reason.behind else met
            part = same.part
        elif own is None:
            own = Row(fault.seq, self._is_absent(plan, op, values), {})
        part, row = _after(own, part)
        self._fresh[key] = _Aside(
            part,
            self._entry(part, row, fault.key, reason or met),
            reason,
            stored=same.stored if same else known is not None,
            records=1 + (same.records if same else 0),
        )
        self._rows.put(*key, row)
        self._count += known is None
        self._known = None

    def _entry(self, part: Part, row: Row, key: str, reason: _Reason) -> Parked:
        [(op, index, _)] = part.records
        layout, record = entries.encoded(part)
        return Parked(
            source_id=self._offset.source_id,
            stream=self._offset.stream,
            epoch=bytes(self._offset.epoch).hex(),
            model=part.header.layout(index).label,
            name=entries.row_name(row.names[""]),
            key=key,
            seq=row.seq,
            last_seq=part.first_seq,
            op=op,
            names=packed_names(row.names),
            layout=layout,
            record=record,
            absent=row.absent,
            parked_at=timezone.now(),
            **reason._asdict(),
        )

    def _is_absent(self, plan: Plan, op: int, values: Sequence[Any]) -> bool:
        """Whether central lacks the row of a record that it cannot write."""
        return op == INSERT or (op == SAVE and not self._is_there(plan, values))

    def _is_there(self, plan: Plan, values: Sequence[Any]) -> bool:
        try:
            with transaction.atomic(using=self._using):
                return is_there(plan, values, self._using)
        except BLAMED as error:
            if transient(error):
                raise
            return False  # a key that the database cannot read is no row's

    def is_parked(self, label: str, key: Sequence[Any]) -> bool:
        """Whether the row is parked, and so stays as it is until that is applied."""
        return self._rows.find(label, key) is not None

    def _cancel(self) -> None:
        """Let go of the rows that the site has deleted, and that central does not have.

        All that was before the delete is written by now.
        """
        for key, aside in list(self._fresh.items()):
            plan, op, values = _opened(aside.part)
            parked = aside.parked
            if op != DELETE or not parked.absent or aside.gone:
                continue
            if self._is_there(plan, values):
                parked.absent = False
                self._rows.put(*key, Row(parked.seq, False, {"": key[1]}))
                continue
            self._rows.put(*key, None)
            self._count -= 1
            aside.gone = True

    def take(self) -> list[Parked]:
        """What was set aside since this was asked last; it is not stored."""
        taken = [aside.parked for aside in self._fresh.values()]
        self._fresh.clear()
        return taken

    def keep(self) -> int:
        """Store what was set aside, in the transaction at work; returns how many rows more are
        parked than before.

        Raises RecordFault for one that the database has no room for in a statement.
        """
        self._cancel()
        asides = list(self._fresh.values())
        gone = [aside.parked.seq for aside in asides if aside.gone and aside.stored]
        kept = [aside for aside in asides if not aside.gone]
        self._require_room(kept)
        entries.forget(self._offset, gone, self._using)
        for aside in asides:
            self._tell(aside)
        entries.store([a.parked for a in kept if a.reason], self._using, reasons=True)
        entries.store([a.parked for a in kept if not a.reason], self._using, reasons=False)
        self.take()
        return sum(aside.change for aside in asides)

    def _tell(self, aside: _Aside) -> None:
        parked = aside.parked
        verb, seq, words = "parked", parked.seq, parked.error
        if aside.gone:
            verb = "no longer parked:" if aside.stored else "not parked:"
            words = f"Record {parked.last_seq} deletes the row, which central does not have"
        elif aside.stored:
            seq = parked.last_seq
        line = f"{verb} {seq} ({parked.model}, key {parked.key}): {words}"
        before = self._told.get(parked.seq)
        records = aside.records + (before.records if before else 0)
        self._told[parked.seq] = _Told(line, parked.model, records)

    def _require_room(self, kept: Sequence[_Aside]) -> None:
        large = [aside for aside in kept if entries.size(aside.parked) > entries.LARGE]
        if not large:
            return
        with connections[self._using].cursor() as cursor:
            most = dialect(self._using).most_bytes(cursor)
        for aside in large:
            # A driver may write two bytes for each.
            if most is not None and 2 * entries.size(aside.parked) > most:
                raise fault_of(aside.part) from Refusal(
                    "record-too-large",
                    f"It cannot be applied ({aside.parked.error}), and is too large to be parked: "
                    f"central's database accepts statements of {most:,} bytes",
                    "Mend the cause, or raise the limit of central's database",
                )

    @property
    def labels(self) -> Counter[str]:
        """How many of the transaction's records are set aside, of each model."""
        counts: Counter[str] = Counter()
        for told in self._told.values():
            counts[told.label] += told.records
        return counts

    def release(self, applied: Iterable[Parked]) -> None:
        """These rows, which the transaction had stored, are applied after all."""
        for parked in applied:
            self._told.pop(parked.seq, None)

    def committed(self) -> None:
        """The transaction has ended well: what it has parked is known, and worth a line each."""
        self._known = self._offset.parked_changes
        for told in self._told.values():
            logger.warning("%s: %s", self._name, told.line)
        self._told.clear()


def _after(own: Row, part: Part) -> tuple[Part, Row]:
    """The record of a parked row, with what it does to the row as central has it, and the row."""
    plan, op, values = _opened(part)
    if op not in (DELETE, SAVE):
        op = INSERT if own.absent else UPDATE
    part = Part(part.header, part.first_seq, [(op, part.records[0][1], values)])
    return part, Row(own.seq, own.absent, names_of(plan, op, values))


def _opened(part: Part) -> tuple[Plan, int, Sequence[Any]]:
    op, index, values = part.records[0]
    return part.header.plan(index), op, values


def _waiting(what: str) -> Refusal:
    return Refusal(
        "behind-parked",
        f"Record {what} is parked",
        "Run manage.py oplog_parked retry or drop at central",
    )


def _too_many(count: int, words: str) -> Refusal:
    return Refusal(
        "too-many-parked",
        f"{count} rows of this stream are parked, which is as many as may be. {words}",
        'Mend what they met, then run manage.py oplog_parked retry --all; or raise "PARKED_MAX"',
    )
