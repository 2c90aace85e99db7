"""A backlog of long transactions drained by the real processes, from wide rows of many types.

    python -m benchmarks.long_drain [--records 200000] [--runs 3]
        [--pairs sqlite-sqlite pg-pg sqlite-pg] [--json FILE]

`benchmarks/long/workload.py` says what a transaction is. The time is that from the start of
`oplog_send` to central's last commit, less what a start takes that finds nothing to send; the
median of several runs. A commit at central is on the disk. Both ends are compared afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

# Not resolved: in an overlay (see benchmarks.checkouts) the rest lies beside the link.
ROOT = Path(__file__).parent.parent
SETTINGS = "benchmarks.long.settings"
os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS

import django  # noqa: E402

django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.long.models import Article, Line, Order  # noqa: E402
from benchmarks.long.workload import RECORDS, Site  # noqa: E402
from demo.compare import compare  # noqa: E402
from tests.conftest import PAIRS  # noqa: E402
from tests.databases import Databases, Pair  # noqa: E402
from tests.ends import (  # noqa: E402
    Certificates,
    ReceiverProcess,
    SenderProcess,
    captured,
    position,
)

FILL = 10
LOOK_EVERY = 0.01
FULL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"


class Receiver(ReceiverProcess):
    """Central."""

    settings_module = SETTINGS


class Sender(SenderProcess):
    """The site."""

    settings_module = SETTINGS


def drain(pair: Pair, certificates: Certificates, records: int) -> float:
    """Bring a backlog to central; seconds from the sender's start to the last commit."""
    goal = position(pair)[1] + records
    environment = {"SOCKSTREAM_TEST_PRAGMAS": FULL}
    with Receiver(pair.central, certificates, environment=environment) as central:
        begun = time.perf_counter()
        with Sender(pair.site, certificates, central.address) as sender:
            sender.wait_until_connected()
            while position(pair)[1] < goal:
                assert sender.running, sender.log
                time.sleep(LOOK_EVERY)
            seconds = time.perf_counter() - begun
            assert sender.stop() == 0, sender.log
    return seconds


def measure(
    name: str, records: int, runs: int, databases: Databases, certificates: Certificates
) -> dict[str, float]:
    """The median rate of one pair, and how many records there were."""
    pair = PAIRS[name]
    seconds, count = [], 0
    for _ in range(runs):
        databases.clean(pair.site, pair.central)
        site = Site(pair.site)
        site.fill(FILL)
        drain(pair, certificates, captured(pair.site))
        start = drain(pair, certificates, 0)
        for _ in range(max(1, records // RECORDS)):
            site.write()
        count = captured(pair.site)
        seconds.append(drain(pair, certificates, count) - start)
        found = compare([Order, Line, Article], pair.site, pair.central)
        assert not found, found[:3]
    return {"rate": count / median(seconds), "records": count}


def show(results: dict[str, dict[str, float]], console: Console) -> None:
    """A line a pair."""
    table = Table(title=f"Transactions of {RECORDS:,} records drained over mutual TLS")
    for title in ("pair", "records", "records/s"):
        table.add_column(title, justify="left" if title == "pair" else "right")
    for name, each in results.items():
        table.add_row(name, f"{each['records']:,}", f"{each['rate']:,.0f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--pairs", nargs="+", default=["sqlite-sqlite", "pg-pg", "sqlite-pg"])
    parser.add_argument("--json", metavar="FILE", help="write the rates there as well")
    options = parser.parse_args(arguments)
    results = {}
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates = Certificates.make(folder)
        for name in options.pairs:
            results[name] = measure(name, options.records, options.runs, databases, certificates)
    show(results, Console(width=100))
    if options.json:
        Path(options.json).write_text(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
