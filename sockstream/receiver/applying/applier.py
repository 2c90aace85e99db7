"""The applier: batches of one stream into the tables, exactly once.

The guarantee stands in `_transaction`: rows and offset move in the one `atomic` there, and `apply`
returns after it, so that an ack after `apply` speaks of what is committed. (At a cut, SQLite's
COMMIT comes a little before its end: see cuts.py. The offset has moved by then, too.)

A group that comes in several batches keeps its transaction open between the calls of `apply`, so
that memory stays flat and no reader sees half of it. The transaction belongs to the thread's
connection: until the group ends, all calls have to come from that thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from django.db import DatabaseError, InterfaceError, connections, transaction

from sockstream.conf import settings
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import State
from sockstream.receiver.signals import records_applied
from sockstream.wire.errors import WireError
from sockstream.wire.records import Batch

from .cuts import can_end_after
from .faults import BLAMED, Fenced, RecordFault, Retry, Stopped, blame, transient, words_of
from .halving import Write, fault_of
from .parking.judge import Parking
from .parking.replaying import Replay, of_epoch
from .parts import Headers, Part, Step, allowed_models, groups, steps
from .progress import Progress, hold, move, note_checking, note_stop
from .tables.constraints import find_broken
from .tables.effects import Meetings
from .tables.integrity import checked
from .tables.writing import Writer

__all__ = ["Applied", "Applier", "Fenced", "Retry", "Stopped"]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a call of `apply` came to.

    `offset` and `digest` are those of the last commit: what may be acked. `records` is how many
    records this call wrote; those of an open group are not committed yet.
    """

    offset: int
    digest: bytes
    records: int
    group_open: bool


class Applier:
    """Applies the batches of one stream in order, as long as `fence` is the stream's.

    `fence` is what `offsets.open_stream` gave. Nothing is read from the database before the first
    `apply`. An Applier is used by one thread at a time; `headers` may be those of all of them.
    """

    def __init__(
        self, source: str, stream: str, fence: int, *, using: str, headers: Headers | None = None
    ) -> None:
        self.source = source
        self.stream = stream
        self.fence = fence
        self.using = using
        self._dialect = dialect(using)
        own = settings()
        self._allowed = allowed_models(own)
        self._headers = headers or Headers(self._allowed, using)
        parks, limit = own.ON_ERROR == "park", own.PARKED_MAX
        self._parking = Parking(source, stream, using, parks=parks, limit=limit)
        self._writer = Writer(source, stream, using, self._parking.is_parked)
        write, forget = self._writer.write, self._writer.forget
        self._slowly: Write = partial(self._parking.write, write=write, forget=forget)
        self._close_look = checked(partial(write, whole=True), self._writer.holdings, using)
        self._checked: Write = partial(self._parking.write, write=self._close_look, forget=forget)
        self._atomic: transaction.Atomic | None = None
        self._open: Progress | None = None
        self._open_labels: Counter[str] = Counter()
        self._thread = 0
        self._prepared: object = None
        self._committed = (0, b"")
        self._written = 0

    def apply(self, batches: Sequence[Batch]) -> Applied:
        """Apply the batches; what is at or below the offset is skipped.

        Whole groups are committed when this returns. The rest, if the last group goes on in a
        later batch, stays in the open transaction, and every call until its end must come from
        the same thread. On any exception, the open group is rolled back and has to come again
        from its start.

        Raises Stopped if a record can't be applied: the groups before it are committed, and the
        stop is noted. Raises Fenced if a newer session owns the stream, Retry if the database
        failed for now, WireError for batches that don't continue the stream.
        """
        try:
            return self._apply(batches)
        except (DatabaseError, InterfaceError) as error:
            self.close()
            if (reason := transient(error)) is None:
                raise
            raise Retry(reason) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Roll back an open group."""
        atomic, self._atomic, self._open = self._atomic, None, None
        self._open_labels.clear()
        if atomic is not None:
            self._check_thread()
            self._writer.forget()
            atomic.__exit__(_RollBack, _RollBack(), None)

    def _apply(self, batches: Sequence[Batch]) -> Applied:
        self._written = 0
        try:
            rest: Sequence[Step] = steps(batches, self._headers)
            while rest:
                if self._open is not None:
                    rest = self._go_on(self._open, rest)
                    continue
                whole, rest = groups(rest)
                if whole:
                    self._settle(whole)
                if rest:
                    rest = self._begin_group(rest)
        except RecordFault as fault:
            self.close()
            raise self._stopped(fault) from fault
        return Applied(*self._committed, self._written, self._open is not None)

    @contextmanager
    def _transaction(self, *, ends: bool) -> Iterator[None]:
        """The one transaction of rows and offset; left open if the group goes on."""
        if self._atomic is None:
            atomic = transaction.atomic(using=self.using, durable=True)
            atomic.__enter__()
            self._atomic, self._thread = atomic, threading.get_ident()
        self._check_thread()
        try:
            yield
        except BaseException:
            self.close()
            raise
        if ends:
            atomic, self._atomic = self._atomic, None
            try:
                atomic.__exit__(None, None, None)
            except BaseException:
                # Rolled back, or committed and the answer is lost: nobody knows.
                self._writer.forget()
                raise

    def _check_thread(self) -> None:
        if self._thread != threading.get_ident():
            raise RuntimeError("the thread that began a group has to end it")

    # Whole groups: the fast way for all of them, then for ever fewer, then the slow way for one.

    def _settle(self, whole: Sequence[Sequence[Step]]) -> None:
        try:
            self._commit(whole, self._quickly)
        except (*BLAMED, RecordFault) as error:
            self._writer.forget()
            if transient(error):
                raise
        else:
            return
        if len(whole) == 1:
            self._commit_slowly(whole[0])
        else:
            half = len(whole) // 2
            self._settle(whole[:half])
            self._settle(whole[half:])

    def _quickly(self, parts: Sequence[Part]) -> Meetings:
        return self._writer.write(self._parking.screen(parts), last=True, quick=True)

    def _commit(self, whole: Sequence[Sequence[Step]], write: Write) -> None:
        with self._transaction(ends=True):
            progress = self._hold()
            fresh = progress.after(step for group in whole for step in group)
            parts = [step.part for step in fresh]
            if fresh:
                progress.advance(fresh[-1], write(parts))
                progress.parked += self._parking.keep()
                self._finish(progress)
        self._note_commit(progress, lambda: _counted(parts))

    def _commit_slowly(self, group: Sequence[Step]) -> None:
        try:
            self._commit([group], self._slowly)
        except BLAMED as error:
            self._writer.forget()
            if transient(error):
                raise
            self._commit_checked(group, error)

    def _commit_checked(self, group: Sequence[Step], error: Exception) -> None:
        """The commit failed: park what was broken, if that is to be done, else name it."""
        if self._parking.parks:
            try:
                return self._commit([group], self._checked)
            except BLAMED as still:
                self._writer.forget()
                if transient(still):
                    raise
        return self._find_broken(group, error)

    def _find_broken(self, group: Sequence[Step], error: Exception) -> None:
        """The commit failed, so every record could be written: do so again, and look."""
        with self._transaction(ends=True):
            parts = [step.part for step in self._hold().after(group)]
            self._slowly(parts)
            self._refuse_broken(parts)
            raise fault_of(parts[-1], len(parts[-1].records) - 1) from error

    # A group in several batches: its transaction stays open between them.

    def _begin_group(self, coming: Sequence[Step]) -> Sequence[Step]:
        with self._transaction(ends=False):
            progress = self._open = self._hold()
        self._committed = progress.row.seq, bytes(progress.row.digest)
        rest = self._go_on(progress, coming)
        if progress is self._open and progress.seq == progress.row.seq:
            self.close()
        return rest

    def _go_on(self, progress: Progress, coming: Sequence[Step]) -> Sequence[Step]:
        """Write what belongs to the open group; returns what comes after it."""
        ends = [number for number, step in enumerate(coming, 1) if step.ends_group]
        width = ends[0] if ends else len(coming)
        with self._transaction(ends=False):
            self._extend(progress, coming[:width])
        if ends:
            self._end_group(progress, coming[:width])
        return coming[width:]

    def _extend(self, progress: Progress, more: Sequence[Step]) -> None:
        fresh = progress.after(more)
        if fresh:
            parts = [step.part for step in fresh]
            write = self._checked if self._looks_closely(progress) else self._slowly
            progress.advance(fresh[-1], write(parts))
            progress.parked += self._parking.keep()
            self._open_labels.update(_counted(parts))
            self._written += sum(len(part.records) for part in parts)

    def _looks_closely(self, progress: Progress) -> bool:
        """Whether this group's commit has failed before, so that its records have to be judged."""
        return self._parking.parks and progress.row.state == State.CHECKING

    def _end_group(self, progress: Progress, last: Sequence[Step]) -> None:
        """Commit. At a cut the group goes on instead if it points to what is still to come."""
        counts = dict(self._open_labels)
        cut = last[-1].cut
        try:
            with self._transaction(ends=False):
                if cut and self._writer.broken(deleted=True) is not None:
                    return
                if self._looks_closely(progress):
                    self._try_again(progress)
                if not cut and progress.row.state in (State.CHECKING, State.STOPPED):
                    self._refuse_broken([step.part for step in last])
                if not cut:
                    self._finish(progress)
                elif not can_end_after(partial(self._finish, progress), self.using):
                    return
            with self._transaction(ends=True):
                pass
        except BLAMED as error:
            self.close()
            if transient(error):
                raise
            # The records are gone by now. When they come again, they are looked at before the end.
            note_checking(progress, self.using, words_of(error))
            words = f"Central's database refused a group at its end: {words_of(error)}"
            raise Retry(WireError("retry", words)) from error
        self._open = None
        self._open_labels.clear()
        self._written -= progress.records
        self._note_commit(progress, lambda: counts)

    def _finish(self, progress: Progress) -> None:
        self._writer.finish()
        move(progress, self.using)

    def _try_again(self, progress: Progress) -> None:
        """What was parked for a row that had not come yet can be applied at the group's end."""
        mine = of_epoch(progress.row, self.using).filter(seq__gt=progress.row.seq)
        rows = {row.seq: row for row in mine.defer("names", "layout", "record")}
        if rows:
            replay = Replay(progress.row, self._parking, self._headers, self._writer, self.using)
            done = replay.run(rows, self._close_look)
            progress.parked -= len(done.applied)
            progress.meetings.add(done.meetings)
            self._parking.release(done.applied)

    def _hold(self) -> Progress:
        progress = hold(self.source, self.stream, self.fence, self.using)
        self._parking.begin(progress.row)
        with connections[self.using].cursor() as cursor:
            self._dialect.defer_constraints(cursor)
            if self._prepared is not cursor.db.connection:
                self._dialect.prepare(cursor)
                self._prepared = cursor.db.connection
        return progress

    def _refuse_broken(self, parts: Sequence[Part]) -> None:
        labels = set(self._open_labels).union(*(part.layouts for part in parts))
        broken = (
            self._writer.broken()
            or self._writer.broken(deleted=True, constrained=True)
            or find_broken(sorted(labels), self._allowed, self.using)
        )
        if broken is not None:
            raise broken.fault(parts, self._allowed)

    def _stopped(self, fault: RecordFault) -> Stopped:
        error = blame(fault)
        note_stop(self.source, self.stream, self.fence, self.using, error)
        return Stopped(error, fault.model, fault.key, fault.seq)

    def _note_commit(self, progress: Progress, counts: Callable[[], dict[str, int]]) -> None:
        self._writer.committed()
        self._committed = progress.seq, progress.digest
        self._written += progress.records
        parked = Counter(self._parking.labels)
        self._parking.committed()
        if progress.records and records_applied.has_listeners(Applier):
            records_applied.send_robust(
                Applier,
                source=self.source,
                stream=self.stream,
                using=self.using,
                first_seq=progress.row.seq + 1,
                last_seq=progress.seq,
                counts=lambda: dict(Counter(counts()) - parked),
            )


class _RollBack(Exception):
    """Given to an atomic block to end it without a commit."""


def _counted(parts: Sequence[Part]) -> dict[str, int]:
    """How many records of each model the parts hold."""
    counts: Counter[str] = Counter()
    for part in parts:
        for index, number in Counter(record[1] for record in part.records).items():
            counts[part.header.layout(index).label] += number
    return dict(counts)
