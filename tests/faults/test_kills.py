"""`kill -9` of either end at random moments, while a site's application writes on.

SOCKSTREAM_SEED repeats a run's moments and its load as far as a machine can; SOCKSTREAM_KILLS sets
how many there are.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import ExitStack
from functools import partial

import pytest

from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    position,
    wait_until,
    wait_until_applied,
)
from tests.faults import audit
from tests.faults.checker import Reader, check_logs, check_whole
from tests.faults.load import Writer, furnish

KILLS = int(os.environ.get("SOCKSTREAM_KILLS", "50"))
SEED = int(os.environ.get("SOCKSTREAM_SEED") or random.randrange(1 << 32))
PAIRED_IDS = ["sqlite-sqlite", "pg-pg"]
PAIRED = [PAIRS[name] for name in PAIRED_IDS]
WRITERS = 2
LONGEST_WAIT = 0.3
# What is to be shown is what kills do, not how much a site may write while they happen.
LONGEST_PAUSE = 0.06

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
        writers = [
            stack.enter_context(Writer(pair.site, n, SEED, longest_pause=LONGEST_PAUSE))
            for n in range(WRITERS)
        ]
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
    reader.check()
    check_logs([sender, receiver])


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
