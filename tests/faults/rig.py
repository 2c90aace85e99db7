"""The pair under test: a site's sender, a proxy, and behind it two receivers on one database.

A supervisor starts again what has ended, as systemd would. It ends the run if an end went without a
reason, or not in good order.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from django.db import connections, transaction

from sockstream.sender.models import Stream
from sockstream.sender.oplog import store
from sockstream.wire.records import Batch
from tests.databases import Pair
from tests.ends import (
    POLL,
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    SnapshotProcess,
    position,
)
from tests.faults.answers import Answers
from tests.faults.machine import NOTHING, PORT_OF_CENTRAL, Machine
from tests.faults.proxy import Address, Proxy
from tests.servers import HOST

# A dead line is noticed after three of these.
HEARTBEAT = 0.5
TIMES = {"HEARTBEAT": HEARTBEAT, "HANDSHAKE_TIMEOUT": 3.0, "CONNECT_TIMEOUT": 3.0}
# So small that many groups take several.
BATCH_RECORDS = 20
# What waits for a lock on SQLite gives up, rather than that nothing ever fails.
SQLITE_WAIT_MS = 300
_AT_ONCE = 100
LOCKED_OUT = "Another oplog_send runs"
SNAPSHOT_RUNS = "Another oplog_snapshot runs"
WITHOUT_POWERS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
"""How root's processes are kept out of files that they may not write."""


class Rig:
    """Runs both ends as long as it is entered.

    `down` are the ends that a fault has ended and will start again, `leaving` those that were sent
    SIGTERM, `snapshots` what has to come to its end. `archive` is what was pruned. `excused` holds
    the parts of an end's last words with which it may end by itself now. `counts` says how often
    the supervisor had to start what.
    """

    def __init__(
        self, pair: Pair, certificates: Certificates, seed: int, machine: Machine = NOTHING
    ) -> None:
        self.pair = pair
        self.certificates = certificates
        self.machine = machine
        self.archive: list[Batch] = []
        self.vendor = connections[pair.central].vendor
        self.down: set[End] = set()
        self.leaving: set[End] = set()
        self.snapshots: set[SnapshotProcess] = set()
        self.excused: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.retired: list[End] = []
        self._seed = seed
        self._stack = ExitStack()
        self.answers = self._answers() if self.vendor == "postgresql" else None
        self.receivers = [self._receiver() for _ in range(2)]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self.answers is not None:
                stack.enter_context(self.answers)
            for receiver in self.receivers:
                stack.enter_context(receiver)
            target = address_of(self.receivers[0])
            self.proxy = stack.enter_context(Proxy(target, self._seed))
            self.sender = stack.enter_context(self.make_sender())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def everybody(self) -> list[End]:
        """The ends that have to run, and those that ever ran."""
        return [*self.ends, *self.retired]

    @property
    def ends(self) -> list[End]:
        """The ends that have to run."""
        return [self.sender, *self.receivers]

    @property
    def active(self) -> ReceiverProcess:
        """The receiver that new connections reach."""
        return next(one for one in self.receivers if address_of(one) == self.proxy.target)

    @property
    def standby(self) -> ReceiverProcess:
        """The other one."""
        return next(one for one in self.receivers if address_of(one) != self.proxy.target)

    @property
    def offset(self) -> int:
        """What central has applied."""
        return position(self.pair)[1]

    def make_sender(self) -> SenderProcess:
        """A sender that is not started yet."""
        settings = {**TIMES, "BATCH_RECORDS": BATCH_RECORDS}
        name = {"PGAPPNAME": "sender"}
        return SenderProcess(
            self.pair.site,
            self.certificates,
            self.proxy.address,
            settings=settings,
            environment=name,
        )

    def take_snapshot(self) -> SnapshotProcess:
        """Start an oplog_snapshot; another one takes its place until one came to its end."""
        process = SnapshotProcess(
            self.pair.site, self.certificates, settings={"BATCH_RECORDS": BATCH_RECORDS}
        )
        self.keep(process)
        self.snapshots.add(process)
        return process

    def keep(self, end: End) -> None:
        """Start one more end, and see that it is gone at the end."""
        self.retired.append(self._stack.enter_context(end))

    def replace_sender(self, sender: SenderProcess) -> None:
        """`sender`, which runs, has taken the place of the one before, which does not."""
        self.retired.remove(sender)
        self.retired.append(self.sender)
        self.sender = sender

    def prune(self) -> None:
        """Remove all that is acked from the oplog; `archive` keeps it for the comparison."""
        seq = self.archive[-1].last_seq + 1 if self.archive else 1
        with transaction.atomic(using=self.pair.site):
            # The lock under which records get numbers: one more would be acked and gone unread.
            Stream.objects.using(self.pair.site).filter(id=1).update(id=1)
            while batches := list(store.read(seq, self.pair.site, _AT_ONCE, unfinished=True)):
                self.archive += batches
                seq = batches[-1].last_seq + 1
            store.prune(self.pair.site, timedelta())

    def _answers(self) -> Answers:
        database = connections[self.pair.central].settings_dict
        return Answers(lambda: int(database["PORT"]))

    def _receiver(self) -> ReceiverProcess:
        pragmas = f"PRAGMA journal_mode = WAL; PRAGMA busy_timeout = {SQLITE_WAIT_MS}"
        environment = {"PGAPPNAME": "receiver", "SOCKSTREAM_TEST_PRAGMAS": pragmas}
        if self.answers is not None:
            environment[PORT_OF_CENTRAL] = str(self.answers.port)
        receiver = ReceiverProcess(
            self.pair.central, self.certificates, settings=TIMES, environment=environment
        )
        if may_overrule_modes() and can_give_powers_up():
            receiver.launcher = WITHOUT_POWERS
        return receiver

    # The supervisor.

    def wait(self, done: Callable[[], bool], what: str, within: float) -> float:
        """Look after the ends until `done` says so; the seconds that it took.

        Raises AssertionError if that is too long, or an end was not as it should be.
        """
        begun = time.monotonic()
        while not done():
            took = time.monotonic() - begun
            assert took < within, f"after {took:.0f} s still not: {what}"
            self.look()
            time.sleep(POLL)
        return time.monotonic() - begun

    def look(self) -> None:
        """Start again what has ended. Raises AssertionError if it should not have."""
        assert self.proxy.alive, "the proxy died"
        for end in self.ends:
            if end.running or end in self.down:
                continue
            status = end.wait()
            if end in self.leaving:
                self.leaving.discard(end)
                assert status == 0, f"{end.command} ended with {status} on SIGTERM:\n{end.log}"
            else:
                self._judge(end, status)
            end.start()
        for snapshot in [each for each in self.snapshots if not each.running]:
            if (status := snapshot.wait()) == 0:
                self.snapshots.discard(snapshot)
                continue
            if status != -signal.SIGKILL and SNAPSHOT_RUNS not in snapshot.lines[-1]:
                self._judge(snapshot, status)
            snapshot.start()

    def _judge(self, end: End, status: int) -> None:
        words = end.lines[-1] if end.lines else ""
        excused = status == 1 and any(part in words for part in self.excused)
        assert excused, f"{end.command} ended by itself with {status}:\n{end.log}"
        self.counts[f"{end.command} started again by the supervisor"] += 1

    def finish(self) -> None:
        """SIGTERM to everybody. Raises AssertionError if one does not end with 0."""
        for end in self.ends:
            status = end.stop()
            assert status == 0, f"{end.command} ended with {status}:\n{end.log}"


def address_of(receiver: ReceiverProcess) -> Address:
    """Where it listens."""
    return HOST, receiver.port


def may_overrule_modes() -> bool:
    """Whether this process writes files whatever their mode says."""
    return os.geteuid() == 0


def can_give_powers_up() -> bool:
    """Whether processes can be started without root's power over files."""
    return shutil.which(WITHOUT_POWERS[0]) is not None


def options_of(alias: str) -> dict[str, Any]:
    """What psycopg connects to a database with."""
    connection: Any = connections[alias]
    options: dict[str, Any] = connection.get_connection_params()
    return options
