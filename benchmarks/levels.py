"""Whether a record costs the same however large the backlog, and however many the models.

    python -m benchmarks.levels [--records 10000 100000 1000000 10000000] [--models 1 10 100 1000]
        [--pairs sqlite-sqlite pg-pg] [--json FILE]

A backlog is drained by the real processes over mutual TLS, and timed from the sender's start until
central's last commit, less what a start takes that finds nothing to send; the small ones several
times, for the median. A backlog is that of all measurements, and lands in tables that grow with it:
what the databases take for tables of so many rows is part of its cost. With many models each
transaction writes 20 rows of one of them, drawn from a fixed seed, and the number of records is
always the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = "benchmarks.many.settings"
os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS

import django  # noqa: E402

django.setup()

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.bulk import BulkSite  # noqa: E402
from benchmarks.many import COUNT  # noqa: E402
from benchmarks.many.models import THINGS  # noqa: E402
from benchmarks.workload import ROUND  # noqa: E402
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

GOAL = 1.3
GROUP = 20
OF_MODELS = 100_000
SMALL, TIMES = 100_000, 5
LOOK_EVERY = 0.01
AT = datetime(2026, 1, 1, tzinfo=UTC)
FULL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"


class Receiver(ReceiverProcess):
    """Central."""

    settings_module = SETTINGS


class Sender(SenderProcess):
    """The site."""

    settings_module = SETTINGS


def drain(pair: Pair, certificates: Certificates, records: int) -> dict[str, float]:
    """Bring a backlog to central: seconds from the sender's start, both processes' CPU, most MiB.

    Without records it ends when they are linked.
    """
    goal = position(pair)[1] + records
    environment = {"SOCKSTREAM_TEST_PRAGMAS": FULL}
    with Receiver(pair.central, certificates, environment=environment) as central:
        begun, before = time.perf_counter(), cpu_of(central)
        with Sender(pair.site, certificates, central.address) as sender:
            sender.wait_until_connected()
            while position(pair)[1] < goal:
                assert sender.running, sender.log
                time.sleep(LOOK_EVERY)
            seconds = time.perf_counter() - begun
            cpu = cpu_of(sender) + cpu_of(central) - before
            peak = max(psutil.Process(end.pid).memory_info().rss for end in (sender, central))
            assert sender.stop() == 0, sender.log
    return {"clock": seconds, "cpu": cpu, "mib": peak / (1 << 20)}


def cpu_of(end: End) -> float:
    """Seconds that it has used."""
    return sum(psutil.Process(end.pid).cpu_times()[:2])


def things(using: str) -> Callable[[int], None]:
    """Writes into one of the many models after the other."""
    drawn = random.Random(1)

    def write(records: int) -> None:
        for first in range(0, records, GROUP):
            thing = drawn.choice(THINGS)
            rows = [thing(name=f"Thing {first + n}", number=n, at=AT) for n in range(GROUP)]
            thing._default_manager.using(using).bulk_create(rows)

    return write


def one(name: str, records: int) -> dict[str, float]:
    """The medians for one pair, one size of the backlog and the models of this process."""
    pair = PAIRS[name]
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        certificates = Certificates.make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        databases.clean(pair.site, pair.central)
        if COUNT:
            write = things(pair.site)
        else:
            site = BulkSite(pair.site)
            stack.callback(site.close)
            write = site.write
        write(ROUND)
        drain(pair, certificates, captured(pair.site))
        start = medians([drain(pair, certificates, 0) for _ in range(TIMES)])
        found = []
        for _ in range(TIMES if records <= SMALL else 1):
            write(records)
            found.append(drain(pair, certificates, records))
    whole = medians(found)
    cost = {what: 1e6 * (whole[what] - start[what]) / records for what in ("clock", "cpu")}
    return {**cost, "mib": whole["mib"]}


def medians(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each number."""
    return {what: median(each[what] for each in found) for what in found[0]}


def apart(pair: str, records: int, models: int) -> dict[str, float]:
    """The same in a process of its own, since Django knows its models once and for all."""
    command = [sys.executable, "-m", "benchmarks.levels", "--one", pair, "--records", str(records)]
    environment = {**os.environ, "SOCKSTREAM_BENCH_MODELS": str(models)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(title: str, results: dict[int, dict[str, float]], console: Console) -> None:
    """A line for each size, and how it compares with the cheapest."""
    cheapest = min(each["clock"] for each in results.values())
    table = Table(title=title)
    for column in ("", "a record", "of the cheapest", "CPU", "most memory"):
        table.add_column(column, justify="right")
    for size, each in results.items():
        table.add_row(
            f"{size:,}",
            f"{each['clock']:.1f} µs",
            f"{each['clock'] / cheapest:.2f}",
            f"{each['cpu']:.1f} µs",
            f"{each['mib']:.0f} MiB",
        )
    console.print(table)


def main() -> int:
    """Measure; 1 if the cost does not stay level."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000]
    )
    parser.add_argument("--models", type=int, nargs="*", default=[1, 10, 100, 1_000])
    parser.add_argument("--pairs", nargs="+", default=["sqlite-sqlite", "pg-pg"])
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.records[0])))
        return 0
    console = Console(width=120)
    found: dict[str, dict[str, dict[int, dict[str, float]]]] = {"records": {}, "models": {}}
    for pair in options.pairs:
        sizes = {count: apart(pair, count, 0) for count in options.records}
        show(f"{pair}: records of the backlog", sizes, console)
        models = {count: apart(pair, OF_MODELS, count) for count in options.models}
        if models:
            show(f"{pair}: models of {OF_MODELS:,} records", models, console)
        found["records"][pair], found["models"][pair] = sizes, models
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(any(spread(each) > GOAL for kind in found.values() for each in kind.values()))


def spread(results: dict[int, dict[str, float]]) -> float:
    """The dearest by the cheapest."""
    costs = [each["clock"] for each in results.values()]
    return max(costs, default=1.0) / min(costs, default=1.0)


if __name__ == "__main__":
    sys.exit(main())
