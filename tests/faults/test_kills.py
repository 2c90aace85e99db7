"""`kill -9` of either end at random moments, while a site's application writes on.

SOCKSTREAM_SEED repeats a run's moments and its load as far as a machine can; SOCKSTREAM_KILLS sets
how many there are.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from contextlib import ExitStack
from functools import partial

import pytest
from django.db import connections
from django.db.models import Count, Sum

from demo.compare import compare
from polls.models import Question
from sockstream.receiver.models import Offset
from sockstream.sender.models import Stream
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    position,
    shared_models,
    wait_until,
    wait_until_applied,
)
from tests.faults import audit
from tests.faults.load import ACCOUNTS, BALANCE, Writer, furnish
from tests.zoo.models import Required

KILLS = int(os.environ.get("SOCKSTREAM_KILLS", "50"))
SEED = int(os.environ.get("SOCKSTREAM_SEED") or random.randrange(1 << 32))
PAIRED_IDS = ["sqlite-sqlite", "pg-pg"]
PAIRED = [PAIRS[name] for name in PAIRED_IDS]
WRITERS = 2
LONGEST_WAIT = 0.3

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Reader(threading.Thread):
    """Looks at both ends all the time; `found` is what it may not see.

    That is half of a site's transaction at central, rows without their offset, and an ack of what
    central does not have.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self.pair = pair
        self.alias = pair.central
        self.looks = 0
        self.found: list[str] = []
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            while not self._ended.wait(0.01):
                self._look_at_acks()
                self._look_at_rows()
                self.looks += 1
        finally:
            for alias in (self.pair.site, self.pair.central):
                connections[alias].close()

    def end(self) -> None:
        """Let it finish its look."""
        self._ended.set()
        self.join()

    def _look_at_acks(self) -> None:
        acked = Stream.objects.using(self.pair.site).get().acked_seq
        _, offset = position(self.pair)
        if acked > offset:
            self.found.append(f"{acked} is acked, {offset} is applied")

    def _look_at_rows(self) -> None:
        if not audit.ends_with_an_offset(self.alias):
            self.found.append("rows without their offset")
        # Each query is one statement, and so sees one state.
        whole = Required.objects.using(self.alias).aggregate(n=Count("id"), money=Sum("price"))
        if (whole["n"], whole["money"] or 0) not in {(0, 0), (ACCOUNTS, ACCOUNTS * BALANCE)}:
            self.found.append(f"accounts: {whole}")
        newest = Question.objects.using(self.alias).order_by("-published_at")
        for text, choices in newest.annotate(n=Count("choices")).values_list("text", "n")[:500]:
            if int(text.rsplit(":", 1)[1]) != choices:
                self.found.append(f"question {text} has {choices} choices")


@pytest.mark.parametrize("pair", PAIRED, ids=PAIRED_IDS, indirect=True)
def test_everything_arrives_once_and_in_order_whoever_is_killed(
    pair: Pair, certificates: Certificates
) -> None:
    sys.stdout.write(f"SOCKSTREAM_SEED={SEED} SOCKSTREAM_KILLS={KILLS}\n")
    furnish(pair.site, WRITERS)
    with ExitStack() as stack:
        stack.enter_context(audit.auditing(pair.central))
        receiver = stack.enter_context(ReceiverProcess(pair.central, certificates))
        sender = stack.enter_context(sending(pair, certificates, receiver))
        wait_until_applied(pair, sender, receiver)
        reader = Reader(pair)
        reader.start()
        stack.callback(reader.end)
        writers = [stack.enter_context(Writer(pair.site, n, SEED)) for n in range(WRITERS)]
        kill_at_random([sender, receiver], pair)
        for writer in writers:
            writer.stop()
        wait_until_applied(pair, sender, receiver)
        reader.end()
        applied = audit.check(pair)
        assert sender.stop() == 0, sender.log
        assert receiver.stop() == 0, receiver.log
    committed = sum(len(writer.committed) for writer in writers)
    sys.stdout.write(f"{committed} transactions at the site, {applied} at central\n")
    check_whole(pair, writers)
    assert reader.looks
    assert not reader.found


def sending(pair: Pair, certificates: Certificates, receiver: ReceiverProcess) -> SenderProcess:
    """A sender whose batches are so small that many groups take several."""
    small = {"BATCH_RECORDS": 20}
    return SenderProcess(pair.site, certificates, receiver.address, settings=small)


def kill_at_random(ends: list[End], pair: Pair) -> None:
    """Kill one of the ends KILLS times, each time at work, and start it again at once."""
    moments = random.Random(SEED)
    for number in range(KILLS):
        victim = moments.choice(ends)
        if moments.random() < 0.8:
            _, before = position(pair)
            wait_until(partial(has_moved, pair, before), "records applied")
        # Now and then it is killed before it has come up again.
        time.sleep(moments.uniform(0, LONGEST_WAIT))
        assert victim.running, f"kill {number}: it ended by itself:\n{victim.log}"
        victim.kill()
        victim.start()


def has_moved(pair: Pair, before: int) -> bool:
    """Whether central has applied more than `before`."""
    return position(pair)[1] > before


def check_whole(pair: Pair, writers: list[Writer]) -> None:
    """Compare central with the site, with what the writers say, and with its own counts."""
    assert compare(shared_models(pair), pair.site, pair.central) == []
    there = set(Question.objects.using(pair.central).values_list("text", flat=True))
    assert there == set().union(*(writer.expected for writer in writers))
    offset = Offset.objects.using(pair.central).get()
    assert offset.records_applied == offset.seq
    met = (offset.inserts_met, offset.updates_missed, offset.deletes_missed)
    assert met == (0, 0, 0)
