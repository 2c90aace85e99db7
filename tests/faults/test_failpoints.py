"""Either end is killed at each step of a record's way, and started again.

Each process is asked to die at one point when everything is in order. What is in the databases at
its death is what the point says, and the next process mends it: once, in order, and whole.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from demo.compare import compare
from polls.models import Choice, Question, Tag
from sockstream.receiver.models import Offset, Staged
from sockstream.sender.models import Batch, Stream
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    ROOT,
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    captured,
    position,
    wait_until,
    wait_until_applied,
)
from tests.faults import audit
from tests.faults.failpoints import NOWHERE, POINTS, PRUNING, dying

IDS = ["sqlite-sqlite", "pg-pg"]
ON_BOTH = pytest.mark.parametrize("pair", [PAIRS[name] for name in IDS], ids=IDS, indirect=True)
# A group comes in several batches.
SMALL = {"BATCH_RECORDS": 20}
WATCHFUL = {"HEARTBEAT": 1.0}
MANY, FEW = 50, 5


class World:
    """A pair and its two ends. `seq` is where everything was in order before the last writes."""

    def __init__(self, pair: Pair, certificates: Certificates, asked: Path) -> None:
        self.pair = pair
        self.asked = asked
        self.seq = self.written = self.session = 0
        self.receiver = ReceiverProcess(pair.central, certificates, settings=WATCHFUL)
        self.sender: SenderProcess
        self._certificates = certificates

    @property
    def stream(self) -> Stream:
        return Stream.objects.using(self.pair.site).get()

    @property
    def offset(self) -> Offset:
        return Offset.objects.using(self.pair.central).get()

    def make_sender(self) -> SenderProcess:
        address = self.receiver.address
        self.sender = SenderProcess(self.pair.site, self._certificates, address, settings=SMALL)
        return self.sender

    def write(self, choices: int = MANY) -> None:
        """One transaction."""
        with transaction.atomic(using=self.pair.site):
            question = Question(text=f"after {self.seq}", published_at=timezone.now())
            question.save(using=self.pair.site)
            Choice.objects.using(self.pair.site).bulk_create(
                Choice(question=question, text=str(number)) for number in range(choices)
            )
        self.written = choices + 1

    def write_little(self) -> None:
        """One transaction of one batch."""
        self.write(FEW)

    def die_at(self, steps: Sequence[Step], end: End) -> None:
        """Let `end` die at each of the steps, mended by its next start."""
        for step in steps:
            if step.at_start:
                self.asked.touch()
                step.provoke(self)
                start(end, step.point, self.asked)
            else:
                self.mend(end, step.point)
                self.asked.touch()
                step.provoke(self)
            assert end.wait() == -signal.SIGKILL, end.log
            self.asked.unlink()
            step.found(self)

    def mend(self, end: End, point: str = NOWHERE) -> None:
        """Start `end`, which is dead, and wait until everything is in order."""
        start(end, point, self.asked)
        if end is self.receiver:
            self.receiver.wait_until_listening()
        wait_until_applied(self.pair, self.sender, self.receiver)
        # Central's loop hears of a commit after everybody else can see it.
        wait_until(lambda: self.stream.acked_seq == self.offset.seq, "acked")
        for each in (self.sender, self.receiver):
            assert "although it had acked" not in each.log, "acked before the commit"
        if self.session:
            assert (self.offset.session, self.offset.confirmed) == (self.session, True)
        self.seq, self.written, self.session = self.offset.seq, 0, 0

    # What is in the databases when the process is dead.

    def is_captured_only(self) -> None:
        assert position(self.pair) == (self.seq, self.seq)
        assert captured(self.pair.site) == self.written

    def is_not_applied(self) -> None:
        seq, offset = position(self.pair)
        assert seq + captured(self.pair.site) == self.seq + self.written
        assert offset == self.seq < seq
        assert Choice.objects.using(self.pair.central).count() < self._choices

    def has_staged(self, batches: int) -> None:
        """Nothing of the group is applied, and so many batches of it are kept."""
        self.is_not_applied()
        kept = Staged.objects.using(self.pair.central)
        assert kept.count() == batches
        last = self.offset.staged_seq
        assert last == (self.seq + batches * SMALL["BATCH_RECORDS"] if batches else 0)

    def is_cut(self) -> None:
        """Central has seen the half frame's end: a reset if the dead sender had not read all."""
        self.receiver.wait_for_line("in the middle of a message|Connection reset by peer")
        self.is_not_applied()

    def is_applied_not_acked(self) -> None:
        wait_until(lambda: self.offset.seq == self.seq + self.written, "applied")
        assert Choice.objects.using(self.pair.central).count() == self._choices
        assert self.stream.acked_seq <= self.seq

    def is_given(self) -> None:
        """Central has given a session that nobody has confirmed: it will be given again."""
        offset = self.offset
        assert not offset.confirmed
        assert self.session in (0, offset.session)
        self.session = offset.session

    def is_stored(self) -> None:
        self.is_given()
        assert self.stream.session == self.session

    def is_not_pruned(self) -> None:
        stream = self.stream
        assert stream.pruned_seq < stream.acked_seq <= self.offset.seq
        held = Batch.objects.using(self.pair.site).order_by("first_seq")
        assert held.values_list("first_seq", flat=True).first() == stream.pruned_seq + 1

    @property
    def _choices(self) -> int:
        return Choice.objects.using(self.pair.site).count()

    def is_whole(self) -> None:
        """Both ends hold the same, and nothing was applied twice."""
        assert compare([Question, Choice], self.pair.site, self.pair.central) == []
        offset = self.offset
        assert offset.records_applied == offset.seq == position(self.pair)[0]
        met = offset.inserts_met, offset.updates_missed, offset.deletes_missed
        assert met == (0, 0, 0)


@dataclass(frozen=True)
class Step:
    """A point, what is found when the process has died there, and what brings it there."""

    point: str
    found: Callable[[World], None]
    provoke: Callable[[World], None] = World.write
    at_start: bool = False


SENDING = [
    Step("stored, not committed", World.is_captured_only),
    Step("numbered, not sent", World.is_not_applied),
    Step("half a frame sent", World.is_cut),
    Step("sent, not acked", World.is_applied_not_acked, World.write_little),
    Step("session stored, not confirmed", World.is_stored, at_start=True),
]
PRUNES = [
    Step("pruning: acked, not pruned", World.is_not_pruned),
    Step("pruning: removed, not committed", World.is_not_pruned),
]
RECEIVING = [
    Step("read, not begun", World.is_not_applied),
    Step("rows written, offset not moved", World.is_not_applied),
    Step("offset moved, not committed", World.is_not_applied),
    Step("committed, not acked", World.is_applied_not_acked),
    Step("opened, not welcomed", World.is_given, at_start=True),
    Step("welcomed, not confirmed", World.is_given, at_start=True),
]


ALL_BUT_THE_LAST = MANY // SMALL["BATCH_RECORDS"]
STAGES = [
    Step("staging: stored, not committed", partial(World.has_staged, batches=0)),
    Step("staging: committed", partial(World.has_staged, batches=1)),
    *(
        Step(f"staging: {point}", partial(World.has_staged, batches=ALL_BUT_THE_LAST))
        for point in (
            "rows written",
            "dropped, offset not moved",
            "offset moved, not committed",
        )
    ),
    Step("staging: committed as a whole", World.is_applied_not_acked),
]


@pytest.fixture
def world(pair: Pair, certificates: Certificates, tmp_path: Path) -> Iterator[World]:
    made = World(pair, certificates, tmp_path / "die")
    with ExitStack() as stack:
        stack.enter_context(audit.auditing(pair.central))
        stack.enter_context(made.receiver)
        stack.enter_context(made.make_sender())
        made.write_little()
        wait_until_applied(pair, made.sender, made.receiver)
        yield made


def start(end: End, point: str, asked: Path) -> None:
    end.launcher = dying(point, asked)
    end.start()


@pytest.mark.slow
@ON_BOTH
def test_the_sender_is_killed_at_each_step(world: World) -> None:
    world.sender.kill()
    world.die_at(SENDING, world.sender)
    world.mend(world.sender)
    audit.check(world.pair)
    world.sender.kill()
    world.die_at(PRUNES, world.sender)
    world.mend(world.sender, PRUNING)
    batches = Batch.objects.using(world.pair.site)
    wait_until(lambda: not batches.exists(), "pruned")
    assert world.stream.pruned_seq == world.stream.seq
    world.is_whole()


@pytest.mark.slow
@ON_BOTH
def test_central_is_killed_at_each_step(world: World) -> None:
    world.receiver.kill()
    world.die_at(RECEIVING, world.receiver)
    world.mend(world.receiver)
    audit.check(world.pair)
    world.is_whole()


@pytest.mark.slow
@ON_BOTH
def test_central_is_killed_at_each_step_of_a_long_group(world: World) -> None:
    world.receiver.kill()
    world.die_at(STAGES, world.receiver)
    world.mend(world.receiver)
    assert not Staged.objects.using(world.pair.central).exists()
    audit.check(world.pair)
    world.is_whole()


def test_every_point_is_died_at() -> None:
    steps = [*SENDING, *PRUNES, *RECEIVING, *STAGES]
    assert {step.point for step in steps} == POINTS.keys()


DYING_WRITER = """
import os, signal, sys
import django
django.setup()
from django.db import transaction
from polls.models import Tag
from sockstream.sender.models import Capture
using = sys.argv[1]
with transaction.atomic(using=using):
    Tag(name="never").save(using=using)
    print(Capture.objects.using(using).count(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_application_that_is_killed_before_its_commit_leaves_nothing(site: str) -> None:
    """Neither the row nor the record of it: they are written in one transaction."""
    done = subprocess.run(
        [sys.executable, "-c", DYING_WRITER, site],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "1\n", "it was captured before the kill"
    assert captured(site) == 0
    assert not Tag.objects.using(site).exists()
