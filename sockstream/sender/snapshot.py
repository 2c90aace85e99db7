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
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

from django.db import connections, transaction

from ..conf import Settings
from ..exceptions import ConfigError
from ..rows import writing_order
from . import oplog
from .capture import marks
from .capture.copying import Copier, copiers
from .lease import SENDING, SNAPSHOT, lease

_LOOK = 0.05
_SAY_AFTER = 5.0


class Snapshot:
    """Takes a snapshot of database `using`; `say` is told in words how it goes.

    `labels` are the models to bring; all captured ones, if there are none.
    """

    def __init__(
        self,
        using: str,
        settings: Settings,
        labels: Sequence[str] = (),
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """Raises ConfigError for a label that is not captured here."""
        self._using = using
        self._say = say
        self._copiers = self._chosen(copiers(using, settings), labels)

    def take(self, *, new_epoch: bool = False) -> int:
        """Capture the snapshot; returns how many rows it has. See `steps`."""
        count, waits_since = 0, math.inf
        for more in self.steps(new_epoch=new_epoch):
            if more is not None:
                count, waits_since = count + more, math.inf
                continue
            # There is no event for the end of somebody else's transaction.
            time.sleep(_LOOK)
            waits_since = min(waits_since, time.monotonic())
            if time.monotonic() > waits_since + _SAY_AFTER:
                waits_since = math.inf
                self._say("Waiting for a transaction that began before (see pg_stat_activity)")
        return count

    def steps(self, *, new_epoch: bool = False) -> Iterator[int | None]:
        """Capture the snapshot; yields how many rows after each commit.

        None means that it waits for the transactions of others, and looks when called again.
        `new_epoch`: the stream begins anew with it. Raises SockstreamError if another one is being
        taken or, for a new epoch, oplog_send runs.
        """
        with lease(self._using, SNAPSHOT):
            with lease(self._using, SENDING) if new_epoch else nullcontext():
                self._begin(new_epoch=new_epoch)
            yield 0
            for copier in self._copiers:
                yield from self._bring(copier)
            self._mark(marks.END, self._copiers[::-1])

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

    def _begin(self, *, new_epoch: bool) -> None:
        oplog.stream(self._using)
        with transaction.atomic(using=self._using):
            if new_epoch:
                oplog.fork(self._using)
            self._mark(marks.BEGIN, self._copiers)

    def _bring(self, copier: Copier) -> Iterator[int | None]:
        number = self._mark(marks.LOAD, [copier])
        while number is not None and self._older_than(number):
            yield None
        count = 0
        for more in copier.parts():
            count += more or 0
            yield more
        self._say(f"{copier.plan.row.label}: {count:,} rows")

    def _mark(self, op: str, of: Sequence[Copier]) -> int | None:
        """Capture marks; returns the number of the transaction, on PostgreSQL."""
        with transaction.atomic(using=self._using):
            marks.put(self._using, op, [copier.plan.number for copier in of])
            return self._ask("SELECT pg_current_xact_id()::text::bigint")

    def _older_than(self, number: int) -> bool:
        """Whether a transaction goes on that began before that one.

        PostgreSQL gives an id before the commit: what such a one has captured stands before the
        mark, and would be left out, though the rows that follow do not have it yet.
        """
        oldest = self._ask("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        return oldest is not None and oldest <= number

    def _ask(self, sql: str) -> int | None:
        if connections[self._using].vendor != "postgresql":
            return None
        with connections[self._using].cursor() as cursor:
            cursor.execute(sql)
            return int(cursor.fetchone()[0])
