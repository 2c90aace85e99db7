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

from django.db import transaction

from sockstream.conf import Settings
from sockstream.exceptions import ConfigError
from sockstream.rows import writing_order
from sockstream.sender.capture import marks
from sockstream.sender.capture.copying import Copier, copiers

from . import store
from .lease import SENDING, SNAPSHOT, lease
from .writers import writers

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
        self._waits_for = ""
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
                self._say(f"Waiting for {self._waits_for} (see pg_stat_activity)")
        return count

    def steps(self, *, new_epoch: bool = False) -> Iterator[int | None]:
        """Capture the snapshot; yields how many rows after each commit.

        None means that it waits for the transactions of others, and looks when called again.
        `new_epoch`: the stream begins anew with it. Raises SockstreamError if another one is being
        taken, if not all rows can be read or, for a new epoch, oplog_send runs.
        """
        for copier in self._copiers:
            copier.require()
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
        store.stream(self._using)
        with transaction.atomic(using=self._using):
            if new_epoch:
                store.fork(self._using)
            self._mark(marks.BEGIN, self._copiers)

    def _bring(self, copier: Copier) -> Iterator[int | None]:
        self._mark(marks.LOAD, [copier])
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

    def _mark(self, op: str, of: Sequence[Copier]) -> None:
        with transaction.atomic(using=self._using):
            marks.put(self._using, op, [copier.plan.number for copier in of])
