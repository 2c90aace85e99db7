"""How long a commit takes from the site to central's readers, at 50 writes a second.

    python -m benchmarks.latency [--seconds 10] [--rate 50] [--pairs sqlite-sqlite pg-pg]

Both ends run as processes over mutual TLS. A write is a `save()` in autocommit; its time begins
when that returns, and ends when a reader's connection at central has seen the row. PostgreSQL tells
the reader by a NOTIFY from a trigger on central's table, which is sent with the commit; on SQLite
the reader waits for a change of the files and then looks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from uuid import UUID

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.visible import TIMED, reader_of  # noqa: E402
from benchmarks.workload import Site  # noqa: E402
from polls.models import Choice, Question  # noqa: E402
from tests.conftest import PAIRS  # noqa: E402
from tests.databases import Databases, Pair  # noqa: E402
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until_applied  # noqa: E402

GOAL_MS = 3.0
WARM_UP = 50
FULL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"


def measure(pair: Pair, certificates: Certificates, rate: float, seconds: float) -> list[float]:
    """Milliseconds of each write, in their order."""
    site = Site(pair.site, Question, Choice)
    site.fill(5)
    central = ReceiverProcess(
        pair.central, certificates, environment={"SOCKSTREAM_TEST_PRAGMAS": FULL}
    )
    with central, SenderProcess(pair.site, certificates, central.address) as sender:
        sender.wait_until_connected()
        wait_until_applied(pair, sender, central)
        count = WARM_UP + round(rate * seconds)
        reader = reader_of(pair.central, count)
        reader.start()
        reader.ready.wait()
        written = write(pair.site, count, 1 / rate)
        reader.join(60)
        assert sender.stop() == 0, sender.log
    assert reader.seen.keys() >= written.keys(), f"{len(reader.seen)} of {count} came"
    return [(reader.seen[key] - at) * 1_000 for key, at in written.items()][WARM_UP:]


def write(using: str, count: int, pause: float) -> dict[UUID, float]:
    """When each row was committed."""
    question = Question.objects.using(using).first()
    written = {}
    start = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, start + number * pause - time.perf_counter()))
        choice = Choice(question=question, text=TIMED, votes=1_000_000 + number)
        choice.save(using=using)
        written[choice.id] = time.perf_counter()
    return written


def main() -> int:
    """Measure each pair; 1 if SQLite's median misses its goal."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--pairs", nargs="+", default=["sqlite-sqlite", "pg-pg"])
    parser.add_argument("--json", metavar="FILE", help="write the times there as well")
    options = parser.parse_args()
    found = {}
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates = Certificates.make(folder)
        for name in options.pairs:
            databases.clean(PAIRS[name].site, PAIRS[name].central)
            times = measure(PAIRS[name], certificates, options.rate, options.seconds)
            cuts = quantiles(times, n=100, method="inclusive")
            found[name] = {"p50": cuts[49], "p99": cuts[98], "max": max(times)}
    table = Table(title=f"Commit to visible, in ms, at {options.rate:g} writes a second")
    for title in ("pair", "p50", "p99", "max"):
        table.add_column(title, justify="left" if title == "pair" else "right")
    for name, cut in found.items():
        table.add_row(name, *(f"{cut[what]:.2f}" for what in ("p50", "p99", "max")))
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(found.get("sqlite-sqlite", {"p50": 0.0})["p50"] > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
