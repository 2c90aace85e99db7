"""The applier: batches of one stream into the tables, exactly once.

The guarantee stands in `_transaction`: rows and offset move in the one `atomic` there, and `apply`
returns after it, so that an ack after `apply` speaks of what is committed.

No transaction is open between two calls. What `apply` is given of a group that has not ended is
staged, and when its end comes, one transaction applies it all, a chunk at a time: memory stays
flat, and no reader sees half of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

from django.db import DatabaseError, InterfaceError, connections, transaction

from sockstream.conf import settings
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Offset
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import Batch

from . import staging
from .faults import BLAMED, Fenced, RecordFault, Retry, Stopped, blame, transient
from .flow import Dry, Flow, More
from .halving import Write, fault_of, write_halving
from .parking import entries
from .parking.judge import Parking
from .parking.replaying import Replay
from .parts import (
    Headers,
    Part,
    Step,
    allowed_models,
    chunks,
    counted,
    end_of_group,
    fit_into_one,
    groups,
    steps,
    unpacked,
)
from .progress import Progress, hold, move, note_stop
from .tables.constraints import find_broken
from .tables.effects import Meetings
from .tables.integrity import checked
from .tables.writing import Writer

__all__ = ["Applied", "Applier", "Fenced", "Retry", "Stopped"]


class NotAtOnce(Exception):
    """The records of a transaction hold too much to be unpacked together."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a call of `apply` came to.

    `offset` and `digest` are those of the last commit: what may be acked. `records` is how many
    records this call applied, `staged` how many are kept of a group that has not ended, and `left`
    how many of the last batches are the caller's to keep.
    """

    offset: int
    digest: bytes
    records: int
    staged: int = 0
    left: int = 0


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
        self._replay = partial(Replay, headers=self._headers, writer=self._writer, using=using)
        write = partial(self._writer.write, whole=True)
        self._close_look = checked(
            write, self._writer.holdings, using, require=self._writer.require
        )
        self._most_staged = own.STAGED_MAX
        self._prepared: object = None
        self._committed = (0, b"")
        self._staged: int | None = None
        self._tried = 0
        self._written = 0

    def apply(
        self, batches: Sequence[Batch], *, more: More | None = None, keeps: bool = False
    ) -> Applied:
        """Apply the groups that end in the batches, and stage the rest of the records.

        With `more`, a group is applied ahead of its end as long as it gives some of it. `keeps`:
        after whole groups, the caller keeps the batches that hold the beginning of another one,
        and gives them again with what follows.

        What is at or below the offset, or staged already, is skipped. Raises Stopped if a record
        can't be applied: the groups before it are committed, and the stop is noted. Raises Fenced
        if a newer session owns the stream, Retry if the database failed for now: give the same
        batches again. Raises WireError for batches that don't continue the stream.
        """
        self._written = 0
        try:
            left = self._take(batches, more, keeps=keeps)
        except RecordFault as fault:
            raise self._stopped(fault) from fault
        except (DatabaseError, InterfaceError) as error:
            if (reason := transient(error)) is None:
                raise
            raise Retry(reason) from error
        seq, digest = self._committed
        staged = max(0, (self._staged or 0) - seq)
        return Applied(seq, digest, self._written, staged, len({step.batch for step in left}))

    def _take(self, batches: Sequence[Batch], more: More | None, *, keeps: bool) -> Sequence[Step]:
        """Returns the steps that the caller keeps."""
        coming: Sequence[Step] = list(steps(self._unstaged(batches), self._headers))
        tried = False
        while coming:
            whole: Sequence[Sequence[Step]] = ()
            if not self._staged:
                whole, coming = groups(coming)
            if whole:
                self._settle(whole)
            elif (width := end_of_group(coming)) and self._end(coming[:width]):
                coming = coming[width:]
            elif keeps and self._written:
                return coming
            elif more is not None and not (self._staged or width or tried):
                coming, tried = self._ahead(coming, more), True
            else:
                self._stage(coming)
                return ()
        return ()

    def _unstaged(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """The batches without those that are staged: a site may send them again."""
        if not batches or (self._staged is not None and batches[0].first_seq > self._staged):
            return batches
        with self._transaction():
            progress = self._hold()
            batches = staging.rest(progress.row, batches, self.using)
        self._note(progress)
        return batches

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """The one transaction of rows and offset. What is remembered of it is true only after a
        commit that returned.
        """
        try:
            with transaction.atomic(using=self.using, durable=True):
                yield
        except BaseException:
            self._writer.forget()
            raise
        finally:
            self._dialect.look_again(connections[self.using])
        self._writer.committed()

    # Whole groups: the fast way for all of them, then for ever fewer, then the slow way for one.

    def _settle(self, whole: Sequence[Sequence[Step]]) -> None:
        together = [step for group in whole for step in group]
        try:
            self._commit(together, self._quickly(last=fit_into_one(together)), quick=True)
        except (*BLAMED, RecordFault, NotAtOnce) as error:
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

    def _quickly(self, *, last: bool) -> Write:
        """`last`: all of the transaction is given in one call."""
        calls = count(1)

        def write(parts: Sequence[Part]) -> Meetings:
            if next(calls) > 1 and last:
                raise NotAtOnce
            return self._writer.write(self._parking.screen(parts), last=last, quick=True)

        return write

    def _commit_slowly(self, group: Sequence[Step]) -> None:
        """Commit one group, which ends with these steps; what is staged is the rest of it."""
        try:
            self._commit(group, self._writer.write)
        except BLAMED as error:
            if transient(error):
                raise
            self._commit_checked(group)

    def _commit_checked(self, group: Sequence[Step]) -> None:
        """The commit failed: park what was broken, if that is to be done, else name it."""
        if self._parking.parks:
            try:
                self._commit(group, self._close_look)
            except BLAMED as error:
                if transient(error):
                    raise
            else:
                return
        try:
            self._commit(group, self._writer.write, look=True)
        except BLAMED as error:
            if transient(error):
                raise
            last = group[-1].part
            raise fault_of(last, len(last.records) - 1) from error

    # The transaction of a group, or of many.

    def _commit(
        self,
        coming: Sequence[Step],
        write: Write,
        *,
        quick: bool = False,
        look: bool = False,
        flow: Iterable[Sequence[Step]] | None = None,
    ) -> None:
        """`quick`: all at once, or not at all. `look`: name the record that is broken rather than
        let the commit find it. `flow`: the chunks, if they are still coming.
        """
        with self._transaction():
            progress = self._hold()
            some = flow or chunks(self._all(progress.row, coming))
            counts = self._write(progress, some, write if quick else partial(self._slowly, write))
            if self._parking.refused:
                self._try_again(progress, write)
            if look:
                self._refuse_broken(progress.row, coming, counts)
            if coming[-1].cut and (broken := self._writer.broken(deleted=True)) is not None:
                raise broken.refusal()
            if progress.records:
                if progress.row.staged_seq:
                    staging.drop(progress.row, self.using)
                self._writer.finish()
                move(progress, self.using)
        self._note_commit(progress, counts)

    def _write(
        self, progress: Progress, coming: Iterable[Sequence[Step]], write: Write
    ) -> Counter[str]:
        """Write the steps, chunk by chunk; returns how many records of each model that is."""
        counts: Counter[str] = Counter()
        for some in coming:
            for last, parts in unpacked(progress.after(some)):
                progress.advance(last, write(parts))
                progress.parked += self._parking.keep()
                counts.update(counted(parts))
        return counts

    def _slowly(self, write: Write, parts: Sequence[Part]) -> Meetings:
        return write_halving(parts, write, self._writer.forget, self._parking, self.using)

    def _all(self, row: Offset, coming: Sequence[Step]) -> Iterator[Step]:
        if row.staged_seq:
            kept = steps(staging.batches(row, self.using), self._headers)
            yield from (step for step in kept if step.last_seq > row.seq)
        yield from coming

    def _refuse_broken(self, row: Offset, group: Sequence[Step], labels: Iterable[str]) -> None:
        broken = (
            self._writer.broken()
            or self._writer.broken(deleted=True, constrained=True)
            or find_broken(sorted(labels), self._allowed, self.using)
        )
        if broken is not None:
            parts = (step.part for step in self._all(row, group))
            raise broken.fault(parts, self._allowed)

    def _try_again(self, progress: Progress, write: Write) -> None:
        """What needed a later record, or is made right by one, is applied at the group's end."""
        mine = entries.of_epoch(progress.row, self.using).filter(seq__gt=progress.row.seq)
        done = self._replay(progress.row, self._parking).run(mine.defer("layout", "record"), write)
        progress.parked -= len(done.applied)
        progress.meetings.add(done.meetings)
        self._parking.release(done.applied)

    # A group that is not here in whole.

    def _ahead(self, coming: Sequence[Step], more: More) -> Sequence[Step]:
        """Apply the group while the rest of it comes, and commit at its end. Returns the steps
        that are still to be taken: all that came, if it did not go well.
        """
        flow = Flow(coming, lambda: steps(more(), self._headers))
        try:
            self._commit(flow.group, self._writer.write, flow=flow)
        except (*BLAMED, RecordFault, Dry) as error:
            if transient(error):
                raise
            return [*flow.group, *flow.rest]
        return flow.rest

    def _end(self, last: Sequence[Step]) -> bool:
        """Commit the group that ends with these steps. False if they end with a cut, and it cannot
        end there: a row may point to one that is still to come.
        """
        (offset, _), end = self._committed, last[-1]
        if not end.cut:
            self._commit_slowly(last)
            return True
        # Tried again when it has doubled, all attempts together cost no more than one of the whole.
        if end.last_seq - offset < 2 * (self._tried - offset):
            return False
        try:
            self._commit(last, self._writer.write)
        except (*BLAMED, RecordFault) as error:
            if transient(error) or not _may_mend_itself(error):
                raise
            self._tried = end.last_seq
            return False
        return True

    def _stage(self, coming: Sequence[Step]) -> None:
        with self._transaction():
            progress = hold(self.source, self.stream, self.fence, self.using)
            row = progress.row
            stands = replace(progress, seq=row.staged_seq, digest=bytes(row.staged_digest))
            fresh = (stands if row.staged_seq else progress).after(coming)
            batches = dict.fromkeys(step.batch for step in fresh)
            if batches:
                staging.add(progress, list(batches), self._tried, self._most_staged, self.using)
        self._note(progress)

    def _hold(self) -> Progress:
        progress = hold(self.source, self.stream, self.fence, self.using)
        self._parking.begin(progress.row)
        with connections[self.using].cursor() as cursor:
            self._dialect.defer_constraints(cursor)
            if self._prepared is not cursor.db.connection:
                self._dialect.prepare(cursor)
                self._prepared = cursor.db.connection
        return progress

    def _note(self, progress: Progress) -> None:
        """The transaction has committed."""
        self._committed = progress.seq, progress.digest
        self._staged, self._tried = progress.row.staged_seq, progress.row.staged_tried

    def _stopped(self, fault: RecordFault) -> Stopped:
        error = blame(fault)
        note_stop(self.source, self.stream, self.fence, self.using, error)
        return Stopped(error, fault.model, fault.key, fault.seq)

    def _note_commit(self, progress: Progress, counts: Counter[str]) -> None:
        self._note(progress)
        self._written += progress.records
        parked = self._parking.labels
        self._parking.committed()
        if progress.records and records_applied.has_listeners(Applier):
            records_applied.send_robust(
                Applier,
                source=self.source,
                stream=self.stream,
                using=self.using,
                first_seq=progress.row.seq + 1,
                last_seq=progress.seq,
                counts=lambda: dict(counts - parked),
            )


def _may_mend_itself(error: Exception) -> bool:
    """Whether a group that is not over can still bring what it lacks."""
    return not isinstance(error, RecordFault) or blame(error).code == "missing-reference"
