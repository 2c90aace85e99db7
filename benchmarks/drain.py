"""A backlog drained by the real processes, beside the same records one by one.

    python benchmarks/drain.py [--records 200000] [--runs 3] [--sample 10000]
        [--pairs sqlite-sqlite pg-pg]

A site wrote while there was no road: 80 % inserts, 15 % updates and 5 % deletes of questions and
choices, a choice pointing to its question by UUID, in tables that have rows at both ends. Then
`oplog_send` and `oplog_receive` run as processes over mutual TLS on loopback. The time is that
from the start of `oplog_send` to central's last commit: numbering, sending and applying; less the
second that a start takes which finds nothing to send. The median of several runs, each of which
begins with empty databases and the same rows before. A commit at central is on the disk (SQLite's
FULL, PostgreSQL's fsync), since that is what an ack says.

The memory of both processes is sampled all the time. Afterwards the last records are taken back at
central and applied one by one, each with `django.core.serializers.deserialize` and `save()` or
`delete()` in a transaction of its own; once more with a thousand of them in each transaction, which
is the most that this way could ever give. Exits 1 if the ratio is below 20 or memory grows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

# Not resolved: in an overlay (see benchmarks.checkouts) the rest lies beside the link.
ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

import psutil  # noqa: E402
from django.core import serializers  # noqa: E402
from django.db import connections, models, transaction  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.peers.common import FILL  # noqa: E402
from benchmarks.workload import ROUND, Round, Site  # noqa: E402
from demo.compare import compare  # noqa: E402
from polls.models import Choice, Question  # noqa: E402
from tests.conftest import PAIRS  # noqa: E402
from tests.databases import Databases, Pair  # noqa: E402
from tests.ends import (  # noqa: E402
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    captured,
    position,
)

WANTED = 20
# Warming up: a window of bytes, a transaction of 20,000 records that Python holds as objects, and
# SQLite's cache of 64 MiB.
GROWTH_MIB = {"sqlite": 96.0, "postgresql": 32.0}
FULL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
MIB = 1 << 20
LOOK_EVERY = 0.02


class Kept(NamedTuple):
    """A round whose records are applied again, one by one."""

    done: Round
    as_json: list[str]


class Sampler(threading.Thread):
    """Looks at the memory of both processes until central has `goal`; `seconds` is when."""

    def __init__(self, pair: Pair, ends: Sequence[End], goal: int, begun: float) -> None:
        super().__init__(daemon=True)
        self.pair = pair
        self.goal = goal
        self.begun = begun
        self.seconds = 0.0
        self.cpu: list[float] = []
        self._samples: list[tuple[float, float, float]] = []
        self._processes = [psutil.Process(end.pid) for end in ends]

    def run(self) -> None:
        while not self.seconds:
            sizes = [process.memory_info().rss / MIB for process in self._processes]
            now = time.perf_counter() - self.begun
            self._samples.append((now, sizes[0], sizes[1]))
            if position(self.pair)[1] >= self.goal:
                self.seconds = now
            time.sleep(LOOK_EVERY)
        times = [process.cpu_times() for process in self._processes]
        self.cpu = [each.user + each.system for each in times]
        for alias in (self.pair.site, self.pair.central):
            connections[alias].close()

    def peak(self, end: int, low: float, high: float) -> float:
        """The most MiB that an end had between two parts of the time since they connected."""
        first = self._samples[0][0]
        length = self.seconds - first
        found = [
            sample[1 + end]
            for sample in self._samples
            if low <= (sample[0] - first) / length <= high
        ]
        return max(found, default=0.0)

    def growth(self, end: int) -> float:
        """MiB between the first quarter and the second half."""
        return self.peak(end, 0.5, 1.0) - self.peak(end, 0.0, 0.25)


@dataclass
class Result:
    """What one pair came to; `sampler` is that of the median run, `start` in seconds."""

    name: str
    records: int
    sampler: Sampler
    start: float
    single: float
    together: float
    sample: int

    @property
    def seconds(self) -> float:
        return self.sampler.seconds - self.start

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def holds(self) -> bool:
        grown = max(self.sampler.growth(0), self.sampler.growth(1))
        vendor = connections[PAIRS[self.name].central].vendor
        return self.rate / self.single >= WANTED and grown <= GROWTH_MIB[vendor]


def measure(
    name: str,
    records: int,
    runs: int,
    sample: int,
    databases: Databases,
    certificates: Certificates,
) -> Result:
    """Drain a backlog several times, each into the same tables, as each peer does.

    Then a sample of the last one is applied one by one.
    """
    pair = PAIRS[name]
    rounds = records // ROUND
    starts, samplers = [], []
    for _ in range(runs):
        databases.clean(pair.site, pair.central)
        site = Site(pair.site, Question, Choice)
        site.fill(FILL)
        drain(pair, certificates, captured(pair.site))
        starts.append(drain(pair, certificates, 0).seconds)
        for _ in range(rounds - sample // ROUND):
            site.write()
        kept = [keep(site.write()) for _ in range(sample // ROUND)]
        samplers.append(drain(pair, certificates, rounds * ROUND))
        equal(pair)
    sampler = sorted(samplers, key=lambda each: each.seconds)[runs // 2]
    single = one_by_one(pair.central, kept, 1)
    equal(pair)
    together = one_by_one(pair.central, kept, ROUND)
    equal(pair)
    sampled = sample // ROUND * ROUND
    return Result(name, rounds * ROUND, sampler, median(starts), single, together, sampled)


def drain(pair: Pair, certificates: Certificates, records: int) -> Sampler:
    """Bring a backlog of so many to central."""
    goal = position(pair)[1] + records
    with receiver(pair, certificates) as central:
        begun = time.perf_counter()
        with SenderProcess(pair.site, certificates, central.address) as sender:
            sender.wait_until_connected()
            sampler = Sampler(pair, [sender, central], goal, begun)
            sampler.start()
            while sampler.is_alive():
                assert sender.running, sender.log
                sampler.join(0.5)
            assert sender.stop() == 0, sender.log
    return sampler


def keep(done: Round) -> Kept:
    """A round with its rows as JSON, as they are now."""
    rows = [*done.inserted, *done.updated]
    return Kept(done, [serializers.serialize("json", [row]) for row in rows])


def receiver(pair: Pair, certificates: Certificates) -> ReceiverProcess:
    """Central, with SQLite as it should be there."""
    return ReceiverProcess(
        pair.central, certificates, environment={"SOCKSTREAM_TEST_PRAGMAS": FULL}
    )


def equal(pair: Pair) -> None:
    """Raises AssertionError with a few of the differences between both ends."""
    found = compare([Question, Choice], pair.site, pair.central)
    assert not found, found[:3]


def one_by_one(using: str, kept: Sequence[Kept], at_once: int) -> float:
    """Records a second, `at_once` of them in a transaction."""
    take_back(using, kept)
    connection = connections[using]
    if connection.vendor == "sqlite":
        connection.cursor().execute(FULL.split(";")[1])
    work = list(pieces(kept))
    begun = time.perf_counter()
    for start in range(0, len(work), at_once):
        apply_some(using, work[start : start + at_once])
    return len(work) / (time.perf_counter() - begun)


def pieces(kept: Sequence[Kept]) -> Iterator[str | models.Model]:
    """Rows to save as JSON, and rows to delete."""
    for each in kept:
        yield from each.as_json
        yield from each.done.deleted


def apply_some(using: str, work: Sequence[str | models.Model]) -> None:
    """One transaction."""
    if len(work) == 1:
        apply_one(using, work[0])
        return
    with transaction.atomic(using=using):
        for each in work:
            apply_one(using, each)


def apply_one(using: str, record: str | models.Model) -> None:
    """What a receiver does that knows no better."""
    if isinstance(record, models.Model):
        Choice.objects.using(using).get(pk=record.pk).delete()
        return
    for deserialized in serializers.deserialize("json", record, using=using):
        deserialized.save(using=using)


def take_back(using: str, kept: Sequence[Kept]) -> None:
    """Undo the inserts and deletes of these rounds."""
    new = {row.pk for each in kept for row in each.done.inserted}
    for model in (Choice, Question):
        delete(model, new, using)
    gone = [row for each in kept for row in each.done.deleted if row.pk not in new]
    Choice.objects.using(using).bulk_create(gone)


def delete(model: type[models.Model], keys: set[Any], using: str) -> None:
    """Delete rows by key, a portion at a time."""
    rest = sorted(keys)
    while portion := rest[:500]:
        del rest[:500]
        model._default_manager.using(using).filter(pk__in=portion)._raw_delete(using)


def show(results: Sequence[Result], console: Console) -> None:
    """Two tables: the rates, and the memory."""
    rates = Table(title=f"{results[0].records:,} records drained over mutual TLS")
    for title in (
        "pair",
        "seconds",
        "records/s",
        "one by one",
        "ratio",
        "in 1000s",
        "ratio",
        "CPU s",
    ):
        rates.add_column(title, justify="left" if title == "pair" else "right")
    for each in results:
        rates.add_row(
            each.name,
            f"{each.seconds:.1f}",
            f"{each.rate:,.0f}",
            f"{each.single:,.0f}/s",
            f"{each.rate / each.single:.1f}",
            f"{each.together:,.0f}/s",
            f"{each.rate / each.together:.1f}",
            " + ".join(f"{seconds:.1f}" for seconds in each.sampler.cpu),
        )
    console.print(rates)
    console.print("CPU: what the sender and the receiver used, their start included.")
    console.print(f"One by one was measured with {results[0].sample:,} of the records.")
    memory = Table(title="Peak memory in MiB up to ... of the time since they connected")
    memory.add_column("end")
    tenths = [(number / 10, (number + 1) / 10) for number in range(10)]
    for _, high in tenths:
        memory.add_column(f"{high:.0%}", justify="right")
    memory.add_column("growth", justify="right")
    for each in results:
        for end, name in enumerate(("sender", "receiver")):
            peaks = [each.sampler.peak(end, low, high) for low, high in tenths]
            shown = [f"{peak:.0f}" if peak else "-" for peak in peaks]
            memory.add_row(f"{each.name} {name}", *shown, f"{each.sampler.growth(end):+.1f}")
    console.print(memory)


def main() -> int:
    """Measure what was asked for; 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--pairs", nargs="+", default=["sqlite-sqlite", "pg-pg", "sqlite-pg"])
    parser.add_argument("--json", metavar="FILE", help="write the rates there as well")
    options = parser.parse_args()
    console = Console(width=120)
    results = []
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates = Certificates.make(folder)
        for name in options.pairs:
            how = options.records, options.runs, options.sample, databases, certificates
            results.append(measure(name, *how))
            show(results[-1:], console)
    if len(results) > 1:
        show(results, console)
    if options.json:
        rates = {each.name: {"rate": each.rate, "one_by_one": each.single} for each in results}
        Path(options.json).write_text(json.dumps(rates))
    return 0 if all(each.holds for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
