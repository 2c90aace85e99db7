"""Random interleavings of writes, numbering, sending and breakdowns leave both ends equal.

SOCKSTREAM_EXAMPLES sets how many there are for each pair of databases. Every one of them is new;
a failure prints what repeats it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import cycle, islice
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from demo.compare import compare
from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.receiver.applying.applier import Fenced
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.sender.oplog.snapshot import Snapshot
from sockstream.wire.errors import WireError
from tests.backups import backup
from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.ends import captured, position, shared_models
from tests.integration.pair.memory import SOURCE, Central, Connection
from tests.integration.pair.ways import plain_connection
from tests.integration.pair.writes import ADDING, OPS, Op, Writes

EXAMPLES = int(os.environ.get("SOCKSTREAM_EXAMPLES", "50"))
STEPS = 25

numbers = st.integers(0, 15)
ops = st.tuples(st.sampled_from(OPS), numbers, numbers)
savepoints = st.tuples(st.lists(ops, min_size=1, max_size=4), st.booleans())
scripts = st.lists(ops | savepoints, min_size=2, max_size=8)
some = st.lists(st.integers(0, 8), min_size=1, max_size=4)

DIVERGED = {"sender-rewound", "history-diverged", "epoch-unknown", "gap", "unknown-source"}

Step = tuple[Op, int, int] | tuple[list[tuple[Op, int, int]], bool]


class Undone(Exception):
    """Rolls a transaction back."""


class Death(BaseException):
    """The end of a process, to its database the end of a connection."""


class Dying(Sequencer):
    """Dies when it has removed what was captured, and not stored the batch."""

    def __init__(self, using: str, settings: Settings, steps: int) -> None:
        super().__init__(using, settings)
        self._steps_left = steps

    def _remove(self, ids: list[int]) -> None:
        super()._remove(ids)
        self._steps_left -= 1
        if not self._steps_left:
            raise Death


class Interleaving(RuleBasedStateMachine):
    """One site and its central; `teardown` brings everything over and compares."""

    pair: Pair
    databases: Databases
    counted: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.databases.clean(self.pair.site, self.pair.central)
        self.writes = Writes(self.pair.site)
        for add in [*ADDING, *ADDING]:
            add(self.writes, 3, 1)
        self.late: Any = None

    # The site's application.

    @rule(several=st.lists(ops, min_size=1, max_size=4))
    def autocommit(self, several: list[tuple[Op, int, int]]) -> None:
        for op in several:
            with suppress(IntegrityError):
                self.do(op)

    @rule(script=scripts, keep=st.booleans() | st.just(True))
    def transact(self, script: Sequence[Step], keep: bool) -> None:
        with suppress(IntegrityError, Undone), transaction.atomic(using=self.pair.site):
            for step in script:
                self.take(step)
            if not keep:
                raise Undone

    def take(self, step: Step) -> None:
        if len(step) == 3:
            self.do(step)
            return
        inner, keep = step
        with suppress(IntegrityError, Undone), transaction.atomic(using=self.pair.site):
            for op in inner:
                self.do(op)
            if not keep:
                raise Undone

    def do(self, op: tuple[Op, int, int]) -> None:
        write, a, b = op
        write(self.writes, a, b)

    # Somebody else at the site, who takes his time. SQLite has one writer at a time.

    @property
    def is_postgresql(self) -> bool:
        return connections[self.pair.site].vendor == "postgresql"

    @precondition(lambda self: self.is_postgresql and self.late is None)
    @rule()
    def begin_late(self) -> None:
        self.late = plain_connection(self.pair.site)
        self.late.autocommit = False
        self.write_late(0)

    @precondition(lambda self: self.late is not None)
    @rule(number=numbers)
    def write_late(self, number: int) -> None:
        cursor = self.late.cursor()
        hall = self.writes.id()
        cursor.execute("INSERT INTO zoo_hall (id, name) VALUES (%s, 'late')", [hall])
        seat = "INSERT INTO zoo_seat (hall_id, number, taken) VALUES (%s, %s, false)"
        for place in range(number % 4):
            cursor.execute(seat, [hall, place])
        cursor.execute("UPDATE zoo_seat SET taken = true WHERE number = %s", [number % 3])
        cursor.execute("DELETE FROM zoo_seat WHERE number = %s", [number % 5])

    @precondition(lambda self: self.late is not None)
    @rule(keep=st.booleans())
    def end_late(self, keep: bool) -> None:
        self.counted["late commits"] += keep
        if keep:
            self.late.commit()
        else:
            self.late.rollback()
        self.late.close()
        self.late = None

    # The sender and central.

    @rule(
        steps=st.none() | st.integers(1, 3),
        batch=st.integers(1, 12),
        group=st.just(100_000) | st.integers(2, 60),
        dies=st.booleans(),
    )
    def number(self, steps: int | None, batch: int, group: int, dies: bool) -> None:
        """Number what was captured; stop after `steps` batches, or die in the last of them."""
        sizes = Settings(BATCH_RECORDS=batch, GROUP_RECORDS=max(group, batch))
        sequencer = Sequencer(self.pair.site, sizes)
        if dies and steps:
            sequencer = Dying(self.pair.site, sizes, steps)
        with suppress(Death):
            for _ in islice(sequencer.steps(), steps):
                pass

    @rule(
        pieces=st.lists(st.integers(1, 4000), min_size=1, max_size=5),
        life=st.none() | st.integers(0, 5_000),
        together=some,
        window=st.sampled_from([500, 4000, 8 << 20]),
    )
    def send(self, pieces: list[int], life: int | None, together: list[int], window: int) -> None:
        own = Settings(MODELS=ours().MODELS, WINDOW=window, COMPRESS=window > 4000)
        link = Connection(self.pair.site, self.pair.central, own, pieces, life)
        self.run(link, together)
        self.counted["connections"] += 1
        self.counted["broken ones"] += link.broke

    @rule(first=st.booleans(), most=st.integers(1, 4), life=st.none() | st.integers(0, 5_000))
    def take_over(self, first: bool, most: int, life: int | None) -> None:
        """A worker goes on after its connection was lost: until another one took the stream over
        (the `first` to work) it may, from then on it is fenced.
        """
        own = Settings(MODELS=ours().MODELS)
        lost = Connection(self.pair.site, self.pair.central, own, [1 << 20], life)
        self.run(lost, [0])
        if not lost.central.waiting:
            return
        if first:
            assert self.outcome_of(lost.central, most) == "applied"
        self.run(Connection(self.pair.site, self.pair.central, own, [1 << 20], None), [most])
        before = position(self.pair)
        if lost.central.waiting:
            assert self.outcome_of(lost.central, most) == "fenced"
            assert position(self.pair) == before
            self.counted["fenced workers"] += 1

    def run(self, link: Connection, together: Sequence[int]) -> None:
        """Let a connection live; `together` says how many batches each transaction takes."""
        link.run(cycle(together))

    def outcome_of(self, ghost: Central, most: int) -> str:
        assert ghost.applier is not None
        try:
            ghost.work(most)
        except Fenced:
            return "fenced"
        except WireError as error:
            return error.code
        return "applied"

    def teardown(self) -> None:
        if self.late is not None:
            self.end_late(True)
        try:
            self.settle()
            self.counted["interleavings"] += 1
            self.counted["records"] += position(self.pair)[1]
            assert captured(self.pair.site) == 0
            assert store.held(self.pair.site).last == position(self.pair)[1]
            assert compare(shared_models(self.pair), self.pair.site, self.pair.central) == []
        finally:
            if self.late is not None:
                self.late.close()

    def settle(self) -> None:
        """Bring everything over."""
        self.number(None, 1000, 100_000, False)
        own = Settings(MODELS=ours().MODELS)
        Connection(self.pair.site, self.pair.central, own, [1 << 20], None).run(cycle([3]))


class Snapshotting(Interleaving):
    """The same, with snapshots beside the application's writes; some are left unfinished."""

    def __init__(self) -> None:
        super().__init__()
        self.snapshot: Iterator[int | None] | None = None

    @precondition(lambda self: self.snapshot is None)
    @rule(new_epoch=st.booleans(), size=st.integers(1, 6))
    def begin_snapshot(self, new_epoch: bool, size: int) -> None:
        small = Settings(MODELS=ours().MODELS, BATCH_RECORDS=size)
        self.snapshot = Snapshot(self.pair.site, small).steps(new_epoch=new_epoch)
        self.go_on(1)

    @precondition(lambda self: self.snapshot is not None)
    @rule(steps=st.integers(1, 8))
    def go_on(self, steps: int) -> None:
        assert self.snapshot is not None
        for _ in range(steps):
            try:
                self.counted["waits for others"] += next(self.snapshot) is None
            except StopIteration:
                self.snapshot = None
                self.counted["snapshots"] += 1
                return

    @precondition(lambda self: self.snapshot is not None)
    @rule(several=st.lists(ops, min_size=1, max_size=4), steps=st.integers(1, 3))
    def write_meanwhile(self, several: list[tuple[Op, int, int]], steps: int) -> None:
        self.autocommit(several)
        self.go_on(steps)

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def end_the_snapshot_s_process(self) -> None:
        self.snapshot = None

    def settle(self) -> None:
        """End the snapshot that was begun, or take one in its place.

        Never one more than that: it would mend what an earlier one has done wrong.
        """
        self.end_snapshot()
        self.number(None, 1000, 100_000, False)
        if store.stream(self.pair.site).snapshot:
            self.begin_snapshot(False, 1000)
            self.end_snapshot()
        super().settle()

    def end_snapshot(self) -> None:
        while self.snapshot is not None:
            self.go_on(1000)


class Mending(Snapshotting):
    """The same, while either end's database is restored from a backup, and mended by snapshots."""

    def __init__(self) -> None:
        super().__init__()
        self.backups: dict[str, Any] = {}

    @precondition(lambda self: self.late is None)
    @rule(central=st.booleans())
    def back_up(self, central: bool) -> None:
        using = self.pair.central if central else self.pair.site
        self.backups[using] = backup(using)

    @precondition(lambda self: self.late is None and self.backups)
    @rule(number=numbers)
    def restore(self, number: int) -> None:
        using = sorted(self.backups)[number % len(self.backups)]
        if using == self.pair.site:
            self.snapshot = None  # the process that takes it is gone with its database
        self.backups[using].restore()
        self.counted["backups restored"] += 1

    @rule()
    def prune(self) -> None:
        store.prune(self.pair.site, timedelta(0))

    def run(self, link: Connection, together: Sequence[int]) -> None:
        try:
            super().run(link, together)
        except WireError as error:
            if error.code not in DIVERGED:
                raise
            self.counted[error.code] += 1

    def settle(self) -> None:
        """What a person does: a new epoch, and if central does not know the old one, adopt it."""
        self.end_snapshot()
        self.begin_snapshot(True, 1000)
        try:
            super().settle()
        except WireError as error:
            if error.code != "epoch-unknown":
                raise
            registry.adopt(Name(SOURCE, self.pair.site), using=self.pair.central)
            super().settle()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pair", ["sqlite-sqlite", "pg-pg", "sqlite-pg", "pg-sqlite"], ids=str)
@pytest.mark.parametrize(
    ("machine", "share"),
    [(Interleaving, 1), (Snapshotting, 5), (Mending, 5)],
    ids=["whole", "snapshots", "mending"],
)
def test_any_interleaving_leaves_both_ends_equal(
    machine: type[Interleaving], share: int, pair: str, databases: Databases
) -> None:
    class OnThisPair(machine):  # type: ignore[valid-type, misc]
        pass

    OnThisPair.pair, OnThisPair.databases = PAIRS[pair], databases
    OnThisPair.counted = Counter()
    run_state_machine_as_test(
        OnThisPair,
        settings=settings(
            max_examples=EXAMPLES // share,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=False,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )
    done = ", ".join(f"{count} {what}" for what, count in OnThisPair.counted.items())
    sys.stdout.write(f"{pair}: {done}\n")
