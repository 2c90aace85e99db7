"""Whether a site with a large backlog holds up one that writes now and then.

    python -m benchmarks.fair_shares [--rounds 1000] [--rate 4] [--json FILE]

Two sites, two processes that send, one that receives into PostgreSQL. One site has a backlog of so
many thousand records; while it is drained the other one writes, and a reader at central notes when
each of its rows can be seen.
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
from statistics import median

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.db import connections  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.visible import TIMED, reader_of  # noqa: E402
from benchmarks.workload import ROUND, Site  # noqa: E402
from polls.models import Choice, Question  # noqa: E402
from tests.databases import Databases, Pair  # noqa: E402
from tests.ends import Certificates, ReceiverProcess, SenderProcess, send_once  # noqa: E402
from tests.faults.bad_input.ends import certs  # noqa: E402

BUSY, QUIET, CENTRAL = "site_sqlite", "site_pg", "central_pg"
GOAL = 1.0


class Quiet(SenderProcess):
    """The sender of the site that writes now and then."""

    certificate = "quiet"


def measure(certificates: Certificates, rounds: int, rate: float) -> dict[str, float]:
    """Seconds from the quiet site's commits to central's readers while the other one drains."""
    busy, quiet = (Site(using, Question, Choice, seed) for seed, using in enumerate((BUSY, QUIET)))
    for site in (busy, quiet):
        site.fill(5)
    with ReceiverProcess(CENTRAL, certificates) as central:
        send_once(Pair(BUSY, CENTRAL), certificates, central.address)
        for _ in range(rounds):
            busy.write()
        with Quiet(QUIET, certificates, central.address) as sender:
            sender.wait_until_connected()
            reader = reader_of(CENTRAL, sys.maxsize)
            reader.start()
            reader.ready.wait()
            written = {}
            begun = time.perf_counter()
            with SenderProcess(BUSY, certificates, central.address, once=True) as draining:
                while draining.running:
                    choice = Choice(question=Question.objects.using(QUIET)[0], text=TIMED)
                    choice.save(using=QUIET)
                    written[choice.id] = time.perf_counter()
                    time.sleep(1 / rate)
                assert draining.wait() == 0, draining.log
            seconds = time.perf_counter() - begun
            reader.expected = len(written)
            reader.join(60)
            assert sender.stop() == 0, sender.log
    waits = [reader.seen[key] - at for key, at in written.items() if key in reader.seen]
    assert len(waits) == len(written), f"{len(written) - len(waits)} rows did not come"
    return {
        "records": rounds * ROUND,
        "drain_seconds": seconds,
        "samples": len(waits),
        "median": median(waits),
        "max": max(waits),
    }


def main() -> int:
    """Measure; 1 if a row took too long."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=4.0)
    parser.add_argument("--json", metavar="FILE", help="write the times there as well")
    options = parser.parse_args()
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        stack.callback(connections.close_all)
        certificates = Certificates.make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        certs(certificates.folder, "client", Quiet.certificate)
        databases.clean(BUSY, QUIET, CENTRAL)
        found = measure(certificates, options.rounds, options.rate)
    table = Table(title=f"Beside a site that drains {found['records']:,} records")
    for title in ("rows", "median", "slowest", "goal", "drained in"):
        table.add_column(title, justify="right")
    table.add_row(
        f"{found['samples']}",
        f"{found['median'] * 1_000:.0f} ms",
        f"{found['max'] * 1_000:.0f} ms",
        f"below {GOAL * 1_000:.0f} ms",
        f"{found['drain_seconds']:.1f} s",
    )
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(found["max"] >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
