"""The sequencer: gives captured rows their numbers, in an order that respects cause and effect.

A pass takes what is visible when it begins. A snapshot holds whole transactions only, so what one
pass took is applied as one group: then the order of two transactions inside it does not matter
(with deferred constraints neither the order of their ids nor that of their commits is always
right), and a late commit cannot be skipped: it is simply in a later pass. Within a pass, rows go
by id, which the trigger took while the row's lock was held.

A pass of many rows, after the sequencer was down, is cut: on SQLite and MySQL, which do not name
transactions, after GROUP_RECORDS rows wherever that is, on PostgreSQL between two transactions.
Such a group is marked, and central commits at a cut only if no foreign key is broken there: behind
a cut between transactions, too, may stand the row that one before it points to.

From the beginning of a snapshot to its end everything is one group, whatever passes it takes.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

from django.db import OperationalError, connections, transaction
from django.utils import timezone

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.sender.capture import decode, not_utf8
from sockstream.sender.capture.marks import BEGIN, EMPTIED, END, LOAD, is_last
from sockstream.sender.capture.resolve import Resolver
from sockstream.sender.models import Capture, CaptureLayout
from sockstream.wire import records
from sockstream.wire.errors import WireError

from . import store
from .floor import Floor

MARKS = {
    BEGIN: records.BEGIN,
    LOAD: records.LOAD,
    END: records.END,
    **dict(zip(EMPTIED, (records.BEGIN, records.END), strict=True)),
}
OPS = {
    "I": records.INSERT,
    "U": records.UPDATE,
    "D": records.DELETE,
    "S": records.SAVE,
    **MARKS,
}
_PASS_RECORDS = 10_000
_FEW = 20
# Bytes that a statement has around a batch, its header among them.
_AROUND = 16_384
_KEPT = "It stays captured, and so does what came after it"


_Captured = tuple[Any, ...]
"""The id, op, layout and data of a captured row."""


@dataclass(frozen=True, slots=True)
class _Layout:
    decoder: decode.Decoder
    layout: records.Layout


class Sequencer:
    """Moves captured rows of one database into its oplog. One at a time per database."""

    def __init__(self, using: str, settings: Settings, floor: Floor | None = None) -> None:
        self.using = using
        self.settings = settings
        self._connection = connections[using]
        self._table = self._connection.ops.quote_name(Capture._meta.db_table)
        self._layouts: dict[int, _Layout] = {}
        self._resolver = Resolver(using)
        self._floor = floor or Floor(using)

    def steps(self) -> Iterator[int]:
        """Number what is visible, pass by pass; yields the number of records after each commit.

        It ends with the first pass that took everything it saw. Raises SockstreamError for a
        record that cannot be sent; that one stays captured, and so does what comes after it.
        """
        more = True
        while more:
            if self._connection.vendor == "sqlite":
                # Short transactions: the site's own writes wait for each of them. Ids become
                # visible in order on SQLite, so what is below the end stays the same meanwhile.
                each_part = partial(transaction.atomic, using=self.using)
                before = self._before(each_part)
                parts, end, more = self._look()
                yield from self._number(before, parts, end, each_part, cut=more)
            else:
                self._floor.before_pass()
                with self._snapshot():
                    before = self._before(nullcontext)
                    parts, end, more = self._look()
                    count = sum(self._number(before, parts, end, nullcontext, cut=more))
                if self._connection.vendor == "postgresql":
                    self._floor.after_pass(end, more=more)
                yield count

    def _before(self, each_part: Callable[[], AbstractContextManager[object]]) -> store.Head:
        """Where the pass begins; what a new epoch's snapshot has anyway is captured no more."""
        before = store.head(self.using)
        if before.seq == 0 and before.forked:
            for ids in self._superseded():
                with each_part():
                    self._remove(ids)
        return before

    def _number(
        self,
        before: store.Head,
        parts: Iterable[list[_Captured]],
        end: int,
        each_part: Callable[[], AbstractContextManager[object]],
        *,
        cut: bool,
    ) -> Iterator[int]:
        """Number the parts, the last of which ends at `end`; `cut` if more rows wait behind it."""
        seq, digest, snapshot = before.seq, before.digest, before.snapshot
        for rows in parts:
            snapshot = _goes_on(snapshot, rows)
            goes_on = rows[-1][0] != end or snapshot
            batch = self._encode(rows, seq + 1, digest, open_=goes_on, cut=cut and not goes_on)
            with each_part():
                self._remove([row[0] for row in rows])
                store.append(batch, self.using, timezone.now(), snapshot=snapshot)
            seq, digest = batch.last_seq, batch.digest_after
            yield len(rows)

    def _superseded(self) -> Iterator[list[int]]:
        """A new epoch begins with its snapshot, which has what was captured before it was begun."""
        first = self._scalar(f"SELECT min(id) FROM {self._table} WHERE op = %s", [BEGIN])
        sql = f"SELECT id FROM {self._table} WHERE id < %s ORDER BY id"
        ids = [id_ for (id_,) in self._execute(sql, [first or 0])]
        for start in range(0, len(ids), self.settings.BATCH_RECORDS):
            yield ids[start : start + self.settings.BATCH_RECORDS]

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        level = "TRANSACTION ISOLATION LEVEL REPEATABLE READ"
        if self._connection.vendor == "mysql":
            # MySQL sets the level of the next transaction, and only outside of one.
            self._execute(f"SET {level}")
            with transaction.atomic(using=self.using):
                yield
            return
        with transaction.atomic(using=self.using):
            # All that is asked here is about the oldest rows of a table that grows and shrinks too
            # quickly for statistics.
            self._execute(f"SET {level}; SET LOCAL enable_seqscan = off")
            yield

    def _look(self) -> tuple[Iterable[list[_Captured]], int, bool]:
        """The rows of the pass, a batch at a time; the id that it goes up to, and if that is a cut.

        Nearly always there are a few small ones, and a commit is not to wait for more questions.
        """
        most = self.settings
        most_rows = min(_FEW, most.BATCH_RECORDS, self._most())
        few = self._captured(
            "SELECT id, op, layout, CASE WHEN length(data) <= %s THEN {data} END "
            f"FROM {self._table} WHERE id > %s ORDER BY id LIMIT %s",
            [self._batch_bytes // most_rows, self._floor.id, most_rows + 1],
        )
        if len(few) <= most_rows and all(row[3] is not None for row in few):
            return ([few], few[-1][0], False) if few else ([], 0, False)
        end, more = self._end()
        return self._parts(end), end, more

    def _end(self) -> tuple[int, bool]:
        """The id that the pass goes up to, and if that is a cut."""
        cut = self._scalar(
            f"SELECT id FROM {self._table} WHERE id > %s ORDER BY id LIMIT 1 OFFSET %s",
            [self._floor.id, self._most() - 1],
        )
        if cut is None:
            return self._scalar(f"SELECT max(id) FROM {self._table}", []), False
        if self._connection.vendor == "postgresql":
            cut = self._between_transactions(cut)
        behind = self._scalar(f"SELECT id FROM {self._table} WHERE id > %s LIMIT 1", [cut])
        return cut, behind is not None

    def _most(self) -> int:
        """After how many rows a pass is cut."""
        named = self._connection.vendor == "postgresql"
        return _PASS_RECORDS if named else self.settings.GROUP_RECORDS

    def _between_transactions(self, cut: int) -> int:
        # By the index of txid, and once for each: a backlog of millions must not be read for a
        # pass. For `max(id)` PostgreSQL might read it backwards by the primary key.
        sql = (
            f"SELECT max(last) FROM (SELECT DISTINCT txid FROM {self._table} "
            "WHERE id > %s AND id <= %s) seen, "
            f"LATERAL (SELECT max(id + 0) AS last FROM {self._table} "
            "WHERE txid = seen.txid) ends"
        )
        seen = self._floor.id
        while (further := self._scalar(sql, [seen, cut])) is not None and further > cut:
            seen, cut = cut, further
        return cut

    def _parts(self, end: int) -> Iterator[list[_Captured]]:
        """The captured rows up to `end`, a batch at a time."""
        last = self._floor.id
        while last < end:
            first, last = last, self._end_of_part(last, end)
            yield self._captured(
                f"SELECT id, op, layout, {{data}} FROM {self._table} "
                "WHERE id > %s AND id <= %s ORDER BY id",
                [first, last],
            )

    def _captured(self, sql: str, params: list[Any]) -> list[_Captured]:
        """The captured rows that this selects, whose text stands where it says {data}."""
        try:
            return self._execute(sql.replace("{data}", "data"), params)
        except OperationalError as error:
            if not not_utf8.is_told_by(error):
                raise
        rows = self._execute(sql.replace("{data}", "CAST(data AS BLOB)"), params)
        return [(*row[:3], row[3] and self._readable(row)) for row in rows]

    def _readable(self, row: _Captured) -> str:
        id_, op, layout_id, data = row
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            pass
        decoder = (self._layouts.get(layout_id) or self._layout(layout_id)).decoder
        model = CaptureLayout.objects.using(self.using).filter(model=decoder.model)
        layouts = list(model.values_list("id", flat=True))
        marks = ", ".join(["%s"] * len(layouts))
        sql = (
            f"SELECT op, layout, CAST(data AS BLOB) FROM {self._table} "
            f"WHERE id > %s AND layout IN ({marks}) "
            "AND instr(substr(CAST(data AS BLOB), 1, %s), %s) > 0 ORDER BY id"
        )

        def later(key: bytes) -> Iterator[tuple[str, int, bytes]]:
            for found in self._execute(sql, [id_, *layouts, len(key) + 2, key]):
                _, _, newer = found
                if newer.lstrip(b"[")[: len(key) + 1] in (key + b",", key + b"]"):
                    yield found

        return not_utf8.instead_of(op, layout_id, data, decoder, later)

    def _end_of_part(self, after: int, end: int) -> int:
        """The last id of the next batch, within BATCH_RECORDS and BATCH_BYTES if it can be."""
        sizes = self._execute(
            f"SELECT id, length(data) FROM {self._table} "
            "WHERE id > %s AND id <= %s ORDER BY id LIMIT %s",
            [after, end, min(self.settings.BATCH_RECORDS, records.MAX_RECORDS)],
        )
        totals = accumulate(size for _, size in sizes)
        fitting = sum(1 for total in totals if total <= self._batch_bytes)
        return int(sizes[max(fitting, 1) - 1][0])

    def _encode(
        self, rows: list[tuple[Any, ...]], first_seq: int, digest: bytes, *, open_: bool, cut: bool
    ) -> records.Batch:
        builder = records.BatchBuilder(first_seq, digest)
        _, ops, which, _ = zip(*rows, strict=True)
        # In the order in which they first come: the header has them so.
        known = {id_: self._layouts.get(id_) or self._layout(id_) for id_ in dict.fromkeys(which)}
        layouts = {id_: each.layout for id_, each in known.items()}
        if unknown := set(ops) - OPS.keys():
            raise _spoilt(f"A captured row has the operation {min(unknown)!r}")
        try:
            builder.add_all([OPS[op] for op in ops], which, self._values(rows, known), layouts)
            if len(rows) == 1:
                self._require_room(rows[0], builder.size)
            return builder.build(open=open_, cut=cut)
        except WireError as error:
            raise SockstreamError(error.code, error.words, error.mend or _KEPT) from error

    def _values(
        self, rows: list[tuple[Any, ...]], known: dict[int, _Layout]
    ) -> list[Sequence[Any]]:
        """The wire values of each row: decoded a column at a time, settled in their order."""
        values: list[Sequence[Any]] = [()] * len(rows)
        alike: dict[tuple[int, str], list[int]] = {}
        for at, (_, op, layout_id, _) in enumerate(rows):
            alike.setdefault((layout_id, op), []).append(at)
        for (layout_id, op), places in alike.items():
            if op in MARKS:
                continue
            found = known[layout_id].decoder.many(op, [rows[at][3] for at in places])
            for at, each in zip(places, found, strict=True):
                values[at] = each
        if any(self._resolver.concerns(each.decoder) for each in known.values()):
            for at, (_, op, layout_id, data) in enumerate(rows):
                decoder = known[layout_id].decoder
                if op not in MARKS and self._resolver.concerns(decoder):
                    values[at] = self._resolver.settled(decoder, op, data, values[at])
        return values

    def _layout(self, layout_id: int) -> _Layout:
        row = CaptureLayout.objects.using(self.using).filter(id=layout_id).first()
        if row is None:
            raise _spoilt(f"Captured rows have the layout {layout_id}, which is not stored")
        try:
            decoder = decode.compile(json.loads(row.definition))
        except (ValueError, LookupError, TypeError) as error:
            raise _spoilt(f"The stored layout {layout_id} of {row.model} is damaged") from error
        layout = records.Layout(decoder.model, decoder.key_names, decoder.other_names)
        return self._layouts.setdefault(layout_id, _Layout(decoder, layout))

    def _require_room(self, row: _Captured, size: int) -> None:
        """Raises SockstreamError for a record that is too large for a frame, or a statement."""
        label = self._layouts[row[2]].layout.label
        words = f"Captured row {row[0]} of {label} takes {size:,} bytes"
        if size > self.settings.MAX_RECORD:
            raise SockstreamError(
                "record-too-large",
                f"{words}, more than MAX_RECORD ({self.settings.MAX_RECORD:,})",
                f"Raise MAX_RECORD here and MAX_FRAME at both ends. {_KEPT}",
            )
        if size > self._most_in_a_statement:
            raise SockstreamError(
                "record-too-large",
                f"{words}, and a statement of this database takes {self._most_in_a_statement:,}",
                f"Raise max_allowed_packet here, and restart oplog_send. {_KEPT}",
            )

    @functools.cached_property
    def _most_in_a_statement(self) -> float:
        """The most bytes that the database can be given at once."""
        if self._connection.vendor != "mysql":
            return math.inf
        # Drivers write bytes as hexadecimal digits.
        return int(self._scalar("SELECT @@max_allowed_packet", [])) // 2 - _AROUND

    @functools.cached_property
    def _batch_bytes(self) -> int:
        return int(min(self.settings.BATCH_BYTES, self._most_in_a_statement))

    def _remove(self, ids: list[int]) -> None:
        if self._connection.vendor == "mysql":
            # A range would lock and delete what others committed since the snapshot.
            marks = ",".join(["%s"] * len(ids))
            self._execute(f"DELETE FROM {self._table} WHERE id IN ({marks})", ids)
        else:
            sql = f"DELETE FROM {self._table} WHERE id > %s AND id <= %s"
            self._execute(sql, [self._floor.id, ids[-1]])

    def _scalar(self, sql: str, params: list[Any]) -> Any:
        rows = self._execute(sql, params)
        return rows[0][0] if rows else None

    def _execute(self, sql: str, params: list[Any] | None = None) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []


def _spoilt(words: str) -> SockstreamError:
    return SockstreamError(
        "capture-spoilt",
        words,
        "Something else than sockstream wrote there: restore it from a backup, "
        "or run manage.py oplog_snapshot --new-epoch",
    )


def _goes_on(snapshot: bool, rows: list[tuple[Any, ...]]) -> bool:
    """Whether a snapshot that was open (or not) before these captured rows is open after them."""
    for _, op, _, data in rows:
        if op == BEGIN:
            snapshot = True
        elif op == END and is_last(data):
            snapshot = False
    return snapshot
