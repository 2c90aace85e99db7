"""How batches may come to an applier, and what may happen on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn
from unittest import mock

from django.db import Error, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import strategies as st

from sockstream.receiver.applying.applier import Applier, Retry
from sockstream.wire.records import Batch, segments
from tests.integration.applier.feed import Feed

ALL = 10_000


@dataclass(frozen=True)
class Step:
    """One thing that happens: `give` this many batches, with a fault of some kind or without.

    `back`: begin with as many batches that were given before. `ahead`: how many more have come
    each time that the applier asks. `keeps`: what it leaves is given again. `fault`: see FAULTS;
    `after` counts the statements that work before one fails.
    """

    give: int = ALL
    back: int = 0
    ahead: Sequence[int] = ()
    keeps: bool = False
    fault: str = ""
    after: int = 0


@dataclass
class Delivery:
    """Brings the batches of one stream to a database, step by step, and then the rest of them."""

    batches: Sequence[Batch]
    using: str
    steps: Sequence[Step] = ()
    rest: int = ALL
    _next: int = 0
    _applier: Applier = field(init=False)

    def run(self) -> None:
        """Deliver everything. Raises AssertionError if half of a group was committed."""
        self._connect()
        for step in self.steps:
            if self._next < len(self.batches) or step.fault in _SESSIONS:
                self._take(step)
        while self._next < len(self.batches):
            self._give(self._next, Step(self.rest))
        self.leave()

    def _take(self, step: Step) -> None:
        if (ends := _SESSIONS.get(step.fault)) is not None:
            ends(self)
            self._connect()
            return
        first = max(self._next - step.back, 0)
        if not step.fault:
            self._give(first, step)
            return
        try:
            with FAULTS[step.fault](self.using, step.after):
                self._give(first, step)
        except Retry:
            # The same batches come again, to the same applier.
            self.leave()
        else:
            if step.fault == "cut off":
                # Nothing was new, so that nobody has met it.
                self.vanish()
                self._connect()

    def _connect(self) -> None:
        """A new session: it goes on after the last record that was committed."""
        feed = Feed()
        if self.batches:
            feed.seq, feed.digest = self.batches[-1].last_seq, self.batches[-1].digest_after
        opened = feed.opened(self.using)
        self._applier = Applier("site-a", opened.stream, opened.fence, using=self.using)
        coming = (at for at, each in enumerate(self.batches) if each.last_seq > opened.offset)
        self._next = next(coming, len(self.batches))

    def _give(self, first: int, step: Step) -> None:
        end = max(self._next, min(first + step.give, len(self.batches)))
        given, widths = list(self.batches[first:end]), iter(step.ahead)

        def more() -> Sequence[Batch]:
            at = first + len(given)
            fresh = self.batches[at : at + next(widths, 0)]
            given.extend(fresh)
            return fresh

        batches = tuple(given)
        applied = self._applier.apply(batches, more=more if step.ahead else None, keeps=step.keeps)
        assert applied.offset in self._ends, f"{applied.offset} is inside of a group"
        self._next = first + len(given) - applied.left

    @property
    def _ends(self) -> set[int]:
        """Where the site says that a group ends."""
        ends = {0}
        for batch in self.batches:
            ends |= {each.last_seq for each in segments(batch) if each.ends_group}
        return ends

    # How a session ends.

    def leave(self) -> None:
        """The link ends, and says so."""
        connections[self.using].close()

    def vanish(self) -> None:
        """The process dies; its database hears of it."""
        connection = connections[self.using]
        if connection.connection is not None:
            connection.connection.close()
        del connections[self.using]


_SESSIONS: dict[str, Callable[[Delivery], None]] = {
    "leave": Delivery.leave,
    "vanish": Delivery.vanish,
}


@contextmanager
def _lost_commit(using: str, *, done: bool) -> Iterator[None]:
    """The next COMMIT fails, after the database has done it, or before."""
    connection = connections[using]
    connection.ensure_connection()
    commit = connection._commit  # type: ignore[attr-defined]

    def lose() -> None:
        if done:
            commit()
        _break(connection)

    with mock.patch.object(connection, "_commit", lose):
        yield


@contextmanager
def _cut_off(using: str) -> Iterator[None]:
    """The connection ends between two transactions, or in one that is open."""
    connection = connections[using]
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        with connection.execute_wrapper(_Failing(0)):
            yield
    else:
        _lose(connection)
        yield


def _break(connection: BaseDatabaseWrapper) -> NoReturn:
    """The connection is lost; of SQLite, which has none, the disk fails."""
    if connection.vendor == "sqlite":
        connection.connection.rollback()
        failed = sqlite3.OperationalError("disk I/O error")
        failed.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise OperationalError(*failed.args) from failed
    _lose(connection)
    raise OperationalError("the server closed the connection")


def _lose(connection: BaseDatabaseWrapper) -> None:
    """The connection of a server is lost. PyMySQL would not close again what was closed here."""
    if connection.vendor == "mysql":
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("KILL CONNECTION_ID()")
    else:
        connection.connection.close()


@dataclass
class _Failing:
    """Lets some statements through; the next one fails, as if the database could not just now."""

    left: int

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            raise OperationalError("the database is busy")
        return execute(*args)


FAULTS: dict[str, Callable[[str, int], AbstractContextManager[object]]] = {
    "": lambda using, after: nullcontext(),
    "commit lost": lambda using, after: _lost_commit(using, done=False),
    "answer lost": lambda using, after: _lost_commit(using, done=True),
    "cut off": lambda using, after: _cut_off(using),
    "fails": lambda using, after: connections[using].execute_wrapper(_Failing(after)),
}

_STEPS = st.builds(
    Step,
    give=st.sampled_from([1, 2, 3, ALL]),
    back=st.sampled_from([0, 0, 0, 1, 3]),
    ahead=st.lists(st.integers(1, 3), max_size=4),
    keeps=st.booleans(),
    fault=st.sampled_from(["", "", "", *_SESSIONS, *FAULTS]),
    after=st.integers(0, 30),
)


def deliveries(batches: Sequence[Batch], using: str) -> st.SearchStrategy[Delivery]:
    """Any way in which these batches may come."""
    return st.builds(
        Delivery,
        st.just(batches),
        st.just(using),
        st.lists(_STEPS, max_size=8),
        st.sampled_from([1, 2, ALL]),
    )
