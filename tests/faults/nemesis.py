"""Draws faults from a seed, brings them about, heals them, and waits until records move again.

A round is one to three faults that overlap. They are dealt from a shuffled deck, so that a short
run meets many kinds, and each of them draws from a seed of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from tests.faults import on_databases, on_links, on_machines, on_processes, on_stores
from tests.faults.fault import FAULTS, Fault, Lane
from tests.faults.machine import NOTHING, Machine
from tests.faults.rig import Rig

AT_ONCE = ((1, 50), (2, 35), (3, 15))
"""How many faults a round has, with their weights."""
LATEST_BEGIN = 0.3
LEAVES_WITHIN = 60.0
TAKEN_WITHIN = 90.0
RECOVERS_WITHIN = 90.0
# Registered by being imported.
KINDS = (on_databases, on_links, on_machines, on_processes, on_stores)


@dataclass
class Drawn:
    """A fault with its times, in seconds from the round's begin."""

    fault: Fault
    draw: Random
    begins: float
    lasts: float


class Nemesis:
    """`counts` is how often each fault was injected, `journal` says what was done when, for people.

    `recoveries` is, for each round, after how many seconds records moved again, and its faults.
    """

    def __init__(self, rig: Rig, seed: int, check: Callable[[], None], only: str = "") -> None:
        """`check` is called after each round, and raises AssertionError if something is wrong.

        `only`: what a fault's name has to hold to be drawn.
        """
        self.rig = rig
        self._check = check
        self.counts: Counter[str] = Counter()
        self.recoveries: list[tuple[float, str]] = []
        self.journal: list[str] = []
        self._seed = seed
        self._draw = Random(f"{seed}/nemesis")
        self._deck: list[Fault] = []
        drawn = possible(rig.vendor, rig.machine)
        self._kinds = [fault for fault in drawn if only in fault.name]
        self._begun = time.monotonic()

    def run(self, seconds: float) -> None:
        """Go on for so long. Raises AssertionError if the pair does not go on after a round."""
        self._begun = time.monotonic()
        while time.monotonic() < self._begun + seconds:
            self._round()

    def _round(self) -> None:
        dealt = list(self._deal())
        # What an end says when it ends may come when the fault is over.
        excused, self.rig.excused = self.rig.excused, set()
        for drawn in dealt:
            self.rig.excused |= drawn.fault.excuses
        now_excused = set(self.rig.excused)
        self.rig.excused |= excused
        self._inject(dealt)
        self.rig.wait(lambda: not self.rig.leaving, "ended after SIGTERM", LEAVES_WITHIN)
        self.rig.wait(lambda: not self.rig.snapshots, "the snapshot was taken", TAKEN_WITHIN)
        before = self.rig.offset
        took = self.rig.wait(
            lambda: self.rig.offset > before, "records applied again", RECOVERS_WITHIN
        )
        self.rig.excused = now_excused
        self.recoveries.append((took, ", ".join(drawn.fault.name for drawn in dealt)))
        self._note(f"records are applied again after {took:.1f} s")
        self._check()

    def _deal(self) -> Iterator[Drawn]:
        sizes, weights = zip(*AT_ONCE, strict=True)
        taken: set[Lane] = set()
        for _ in range(self._draw.choices(sizes, weights)[0]):
            if not self._deck:
                self._deck = self._draw.sample(self._kinds, len(self._kinds))
            fault = next((one for one in self._deck if not one.lanes & taken), None)
            if fault is None:
                return
            self._deck.remove(fault)
            taken |= fault.lanes
            yield Drawn(
                fault,
                Random(self._draw.random()),
                self._draw.uniform(0, LATEST_BEGIN),
                self._draw.uniform(fault.shortest, fault.longest),
            )

    def _inject(self, dealt: list[Drawn]) -> None:
        with ExitStack() as all_of_them:
            round_begun = time.monotonic()
            held = {drawn.fault.name: all_of_them.enter_context(ExitStack()) for drawn in dealt}
            steps = [(drawn.begins, drawn, True) for drawn in dealt]
            while steps:
                steps.sort(key=lambda step: step[0])
                at, drawn, begins = steps.pop(0)
                self._wait_until(round_begun + at)
                if begins:
                    self._begin(drawn, held[drawn.fault.name])
                    steps.append((time.monotonic() - round_begun + drawn.lasts, drawn, False))
                else:
                    self._note(f"heal: {drawn.fault.name}")
                    held[drawn.fault.name].close()

    def _begin(self, drawn: Drawn, held: ExitStack) -> None:
        self._note(f"{drawn.fault.name}, for {drawn.lasts:.1f} s")
        self.counts[drawn.fault.name] += 1
        held.enter_context(drawn.fault.begin(self.rig, drawn.draw))

    def _wait_until(self, moment: float) -> None:
        left = moment - time.monotonic()
        self.rig.wait(lambda: time.monotonic() >= moment, "the time", left + LEAVES_WITHIN)

    def _note(self, words: str) -> None:
        self.journal.append(f"{time.monotonic() - self._begun:7.2f} s  {words}")


def possible(vendor: str, machine: Machine = NOTHING) -> list[Fault]:
    """The faults that can be brought about here, with central on this database."""
    without = left_out(vendor, machine)
    return [fault for fault in FAULTS if fault.vendor in {"", vendor} and fault.name not in without]


def left_out(vendor: str, machine: Machine = NOTHING) -> dict[str, str]:
    """The names of the others, with the reason."""
    return on_databases.left_out(vendor) | machine.left_out(vendor)
