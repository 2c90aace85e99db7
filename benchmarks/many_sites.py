"""Many sites that write at once, into one central, and one beside them that writes once a second.

    python -m benchmarks.many_sites [--sites 200] [--records 4000] [--workers 1 2] [--group 20]
        [--json FILE]

`oplog_receive` runs on PostgreSQL, once with each number of workers. The sites are in one other
process, with links of their own over mutual TLS: all begin to send their records at the same
moment, in transactions of `--group` records, a batch of 500 at a time or, if `--group` is 1, each
by itself. When half of all records is applied, each site should have had its
share; the site that writes once a second should not have to wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from sockstream import tls  # noqa: E402
from sockstream.receiver.models import Offset  # noqa: E402
from sockstream.wire.digest import ZERO  # noqa: E402
from sockstream.wire.records import Batch, BatchBuilder  # noqa: E402
from tests.crowd import Client  # noqa: E402
from tests.databases import Databases  # noqa: E402
from tests.integration.receiver.process import receiver  # noqa: E402
from tests.integration.receiver.site import slots  # noqa: E402
from tests.unit.trust import Trust  # noqa: E402
from tests.zoo.models import Slot  # noqa: E402

CENTRAL = "central_pg"
GOAL = 1.0
BATCH = 500
EVERY = 1.0
LOOK_EVERY = 0.02


@dataclass
class Found:
    """`least` and `most`: what a site had at half-time, of an equal share."""

    sites: int
    workers: int
    rate: float
    least: float
    most: float
    rows: int
    slowest: float


def batches(records: int, group: int) -> list[Batch]:
    """What a site has to send."""
    made: list[Batch] = []
    size = BATCH if group > 1 else 1
    for first in range(1, records + 1, size):
        builder = BatchBuilder(first, made[-1].digest_after if made else ZERO)
        for start in range(first, min(first + size, records + 1), group):
            for op, layout, values in slots(min(group, records + 1 - start), 20):
                builder.add(op, layout, values)
            builder.end_group()
        made.append(builder.build(open=False))
    return made


async def write_now_and_then(client: Client, over: asyncio.Event) -> list[float]:
    """One row every second until it is `over`; the seconds until each was acked."""
    waits = []
    while not over.is_set():
        begun = time.perf_counter()
        before = client.batches[-1] if client.batches else None
        builder = BatchBuilder(
            before.last_seq + 1 if before else 1, before.digest_after if before else ZERO
        )
        for op, layout, values in slots(1):
            builder.add(op, layout, values)
        client.batches.append(builder.build(open=False))
        last = client.batches[-1].last_seq
        await client.run(lambda: client.acked == last)  # noqa: B023
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(max(0.0, EVERY - waits[-1]))
    return waits


async def at_once(
    port: int, contexts: Sequence[ssl.SSLContext], work: Sequence[list[Batch]], workers: int
) -> Found:
    """Link all sites, then let them send."""
    clients = [Client(port, context, number) for number, context in enumerate(contexts)]
    for client in clients:
        await client.connect()
    *busy, quiet = clients
    records = work[0][-1].last_seq
    over = asyncio.Event()
    begun = time.perf_counter()
    for client, mine in zip(busy, work, strict=True):
        client.batches = mine
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(write_now_and_then(quiet, over))
        sending = [
            group.create_task(client.run(lambda client=client: client.acked == records))  # type: ignore[misc]
            for client in busy
        ]
        while 2 * (done := sum(client.acked for client in busy)) < len(busy) * records:
            await asyncio.sleep(LOOK_EVERY)
        shares = [client.acked * len(busy) / done for client in busy]
        await asyncio.wait(sending)
        seconds = time.perf_counter() - begun
        over.set()
    for client in clients:
        client.cut()
    waits = waiting.result()
    return Found(
        sites=len(busy),
        workers=workers,
        rate=len(busy) * records / seconds,
        least=min(shares),
        most=max(shares),
        rows=len(waits),
        slowest=max(waits),
    )


def measure(trust: Trust, sites: int, records: int, group: int, workers: int) -> Found:
    """With central in so many processes."""
    contexts = [
        tls.client_context(trust.ca, *trust.client(f"site-{number}")) for number in range(sites + 1)
    ]
    work = [batches(records, group) for _ in range(sites)]
    with receiver(CENTRAL, trust, workers, APPLIERS=4) as central:
        found = asyncio.run(at_once(central.port, contexts, work, workers))
        assert central.stop() == 0, central.log
    offsets = Offset.objects.using(CENTRAL)
    assert offsets.filter(seq=records, records_applied=records, inserts_met=0).count() == sites
    assert Slot.objects.using(CENTRAL).count() == sites * records + found.rows
    return found


def main() -> int:
    """Measure; 1 if a row of the quiet site took too long."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--sites", type=int, default=200)
    parser.add_argument("--records", type=int, default=4_000, help="of each site")
    parser.add_argument("--group", type=int, default=20, help="records of a transaction")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args()
    table = Table(title=f"{options.sites} sites with {options.records:,} records each, at once")
    for title in ("workers", "records/s", "least had", "most had", "slowest row", "goal"):
        table.add_column(title, justify="right")
    results = []
    with ExitStack() as stack:
        databases = Databases(fsync=True)
        stack.callback(databases.close)
        trust = Trust(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for workers in options.workers:
            databases.clean(CENTRAL)
            found = measure(trust, options.sites, options.records, options.group, workers)
            results.append(found)
            table.add_row(
                f"{workers}",
                f"{found.rate:,.0f}",
                f"{found.least:.0%}",
                f"{found.most:.0%}",
                f"{found.slowest * 1_000:.0f} ms of {found.rows}",
                f"below {GOAL * 1_000:.0f} ms",
            )
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(each) for each in results]))
    return int(any(each.slowest >= GOAL for each in results))


if __name__ == "__main__":
    sys.exit(main())
