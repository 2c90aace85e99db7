"""A snapshot: the rows that are there enter the oplog, beside the application's own writes.

It is one group of the stream, whatever its size, so that central shows the state before it until
it has all of it: a mark for each model that the snapshot brings, then, parents first, a mark and
the rows of each model, then, children first, a mark that all of them were there. What comes of a
model before its rows do is left out at central, but for deletes: the rows come as they are then.
So a row that refers to another one never comes before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial

from sockstream.conf import Settings
from sockstream.databases.isolation import until_done
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.rows import writing_order
from sockstream.sender.capture import marks
from sockstream.sender.capture.copying import Copier, copiers
from sockstream.sender.models import Due, Stream

from . import store
from .lease import SNAPSHOT, Lease, Taken, is_held, last_end
from .writers import writers

UNENDED = "the rest of a snapshot"
_LOOK = 0.05
_SAY_AFTER = 5.0


class Snapshot:
    """Takes a snapshot of database `using`; `say` is told in words how it goes.

    `labels` are the models to bring; all captured ones, if there are none. `begun`: what is written
    from now on waits for its end.
    """

    def __init__(
        self,
        using: str,
        settings: Settings,
        labels: Sequence[str] = (),
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """Raises ConfigError for a label that is not captured here."""
        self.begun = False
        self._using = using
        self._say = say
        self._waits_for = ""
        self._copiers = self._chosen(copiers(using, settings), labels)
        self._settles: list[int] = []

    def take(self, *, new_epoch: bool = False) -> int:
        """Capture the snapshot; returns how many rows it has. See `steps`."""
        count, waits_since = 0, math.inf
        with closing(self.steps(new_epoch=new_epoch)) as steps:
            for more in steps:
                if more is not None:
                    count, waits_since = count + more, math.inf
                    continue
                # There is no event for the end of somebody else's transaction.
                time.sleep(_LOOK)
                waits_since = min(waits_since, time.monotonic())
                if time.monotonic() > waits_since + _SAY_AFTER:
                    waits_since = math.inf
                    self._say(f"Waiting for {self._waits_for} (see pg_stat_activity)")
        return count

    def steps(self, *, new_epoch: bool = False) -> Generator[int | None, None, None]:
        """Capture the snapshot; yields how many rows after each commit.

        None means that it waits for the transactions of others, and looks when called again.
        `new_epoch`: the stream begins anew with it. Raises SockstreamError if another one is being
        taken, if not all rows can be read or, for a new epoch, oplog_send runs.
        """
        for copier in self._copiers:
            copier.require()
        with Lease(self._using, SNAPSHOT) as lease:
            for more in self._steps(new_epoch=new_epoch):
                lease.keep()
                yield more

    def _steps(self, *, new_epoch: bool) -> Iterator[int | None]:
        store.stream(self._using)
        with ExitStack() as stack:
            if new_epoch:
                self._keep_senders_out(stack)
            begin = partial(self._begin, fork=new_epoch)
            yield from self._mark(marks.BEGIN, self._copiers, first=begin)
        self.begun = True
        yield 0
        for copier in self._copiers:
            yield from self._bring(copier)
        yield from self._mark(marks.END, self._copiers[::-1], first=self._end)

    def _chosen(self, known: dict[str, Copier], labels: Sequence[str]) -> list[Copier]:
        wanted = {label.lower() for label in labels} or known.keys()
        for label in wanted:
            if label not in known:
                raise ConfigError(
                    f"{label} is not captured in database {self._using!r}",
                    f"Name some of: {', '.join(sorted(known))}",
                )
        order = writing_order(known[label].plan.row for label in wanted)
        return [known[row.label] for row in order]

    def _begin(self, *, fork: bool) -> None:
        """It is due from now on, and so taken anew if it comes to no end."""
        if fork:
            store.fork(self._using)
        labels = [copier.plan.row.label for copier in self._copiers]
        due = Due.objects.using(self._using)
        due.bulk_create(Due(model=label, reason=UNENDED) for label in labels)
        self._settles = list(due.filter(model__in=labels).values_list("id", flat=True))

    def _end(self) -> None:
        Due.objects.using(self._using).filter(id__in=self._settles).delete()

    def _keep_senders_out(self, stack: ExitStack) -> None:
        try:
            stack.enter_context(Lease(self._using))
        except Taken as taken:
            raise SockstreamError(
                taken.code,
                f"oplog_send runs on database {self._using!r}: {taken.holder}",
                "Stop it, run oplog_snapshot --new-epoch again, and start it afterwards",
            ) from taken

    def _bring(self, copier: Copier) -> Iterator[int | None]:
        yield from self._mark(marks.LOAD, [copier])
        # What one of them has captured stands before the mark, and would be left out, though the
        # rows that follow do not have it yet.
        before = writers(self._using)
        while before:
            self._waits_for = f"transactions that wrote before: {', '.join(before.values())}"
            yield None
            # Whoever began meanwhile is not waited for.
            now = writers(self._using)
            before = {name: now[name] for name in before if name in now}
        self._waits_for = f"a transaction that locks a row of {copier.plan.row.label}"
        count = 0
        for more in copier.parts():
            count += more or 0
            yield more
        self._say(f"{copier.plan.row.label}: {count:,} rows")

    def _mark(
        self, op: str, of: Sequence[Copier], *, first: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """Put the marks, after `first` in the same transaction. Yields while others are in the
        way.
        """

        def put() -> None:
            first()
            marks.put(self._using, op, [copier.plan.number for copier in of])

        self._waits_for = "a transaction that locks sockstream's tables"
        yield from until_done(self._using, put)


def unfinished(using: str) -> SockstreamError | None:
    """That a snapshot keeps everything behind it back, and nobody is taking it.

    One that was taken to its end and is still being numbered does not.
    """
    begun = Stream.objects.using(using).filter(snapshot=True).exists()
    if not begun or is_held(using, SNAPSHOT):
        return None
    reason = last_end(using, SNAPSHOT)
    if reason == "":
        return None
    return SockstreamError(
        "snapshot-unfinished",
        "A snapshot was begun and has not ended, and what was written since waits for it"
        + (f" ({reason.rstrip('.')})" if reason else ""),
        "oplog_send takes it anew, and so does manage.py oplog_snapshot",
    )
