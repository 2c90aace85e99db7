"""One run of the harness on one pair of empty databases, from the first write to the comparison."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

from tests.databases import Pair
from tests.ends import Certificates, wait_until_applied
from tests.faults import audit
from tests.faults.checker import Reader, check_logs, check_whole
from tests.faults.load import Writer, furnish
from tests.faults.machine import NOTHING, Machine
from tests.faults.nemesis import Nemesis
from tests.faults.rig import Rig

WRITERS = 2
# The writers leave the two ends, and the faults, some of the machine.
LONGEST_PAUSE = 0.06
DRAINED_WITHIN = 180.0


@dataclass(frozen=True)
class Result:
    """What a run came to. Times are in seconds."""

    seed: int
    vendor: str
    seconds: float
    transactions: int
    records: int
    applied: int
    looks: int
    slowest_recovery: float
    slowest_after: str
    faults: dict[str, int]
    proxied: dict[str, int]
    restarts: dict[str, int]


def run(
    pair: Pair,
    certificates: Certificates,
    seed: int,
    seconds: float,
    machine: Machine = NOTHING,
    only: str = "",
) -> Result:
    """Write, inject faults for so long, let everything arrive, end both ends, and compare.

    The databases have to be empty. `only`: what a fault's name has to hold. Raises
    AssertionError, with the faults as its note, if anything is not as it has to be.
    """
    begun = time.monotonic()
    furnish(pair.site, WRITERS)
    with ExitStack() as stack:
        stack.enter_context(audit.auditing(pair.central))
        rig = stack.enter_context(Rig(pair, certificates, seed, machine))
        reader = Reader(pair)
        nemesis = Nemesis(rig, seed, reader.check_so_far, only)
        try:
            wait_until_applied(pair, *rig.ends)
            reader.start()
            stack.callback(reader.end)
            writers = _written_under(nemesis, pair, seed, seconds)
            wait_until_applied(pair, *rig.ends, within=DRAINED_WITHIN)
            reader.end()
            applied = audit.check(pair, rig.archive)
            rig.finish()
            records = check_whole(pair, writers)
            reader.check()
            check_logs(rig.everybody)
        except AssertionError as error:
            error.add_note("\n".join([f"seed {seed}, {rig.vendor}", *nemesis.journal[-40:]]))
            raise
    slowest, after = max(nemesis.recoveries)
    return Result(
        seed=seed,
        vendor=rig.vendor,
        seconds=round(time.monotonic() - begun, 1),
        transactions=sum(len(writer.committed) for writer in writers),
        records=records,
        applied=applied,
        looks=reader.looks,
        slowest_recovery=round(slowest, 1),
        slowest_after=after,
        faults=_sorted(nemesis.counts),
        proxied=_sorted(rig.proxy.counts),
        restarts=_sorted(rig.counts),
    )


def _written_under(nemesis: Nemesis, pair: Pair, seed: int, seconds: float) -> list[Writer]:
    """The writers, after they have written as long as the nemesis ran."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(Writer(pair.site, number, seed, longest_pause=LONGEST_PAUSE))
            for number in range(WRITERS)
        ]
        nemesis.run(seconds)
    return writers


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))
