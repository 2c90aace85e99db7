"""What a linked site costs central while it has nothing to send.

    python -m benchmarks.idle_links [--links 5000] [--seconds 60] [--json FILE]

One `oplog_receive` process on PostgreSQL, and another process with so many sites, each with a
certificate of its own: they connect, say hello, are welcomed, and from then on answer heartbeats.
The memory is the receiver's growth over all links; its CPU is that of `--seconds` with no record.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from sockstream import tls  # noqa: E402
from tests.crowd import Client  # noqa: E402
from tests.databases import Databases  # noqa: E402
from tests.integration.receiver.process import receiver  # noqa: E402
from tests.unit.trust import NOW, Trust  # noqa: E402

GOAL_KIB = 60.0
AT_ONCE = 50
READY = "all are linked"


async def stay(port: int, folder: Path, count: int) -> None:
    """Link so many sites, say so, and keep the links alive. Raises what happens to one of them."""
    turns, linked = asyncio.Semaphore(AT_ONCE), 0

    async def live(client: Client) -> None:
        nonlocal linked
        async with turns:
            await client.connect()
        linked += 1
        if linked == count:
            print(READY, flush=True)
        await client.run(lambda: False)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            cert = folder / f"site-{number}.crt"
            context = tls.client_context(folder / "ca.crt", cert, cert.with_suffix(".key"))
            group.create_task(live(Client(port, context, number)))


def measure(links: int, seconds: float) -> dict[str, float]:
    """KiB a link, seconds until all are linked, and the share of a core that they take then."""
    with ExitStack() as stack:
        databases = Databases()
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases.clean("central_pg")
        trust = Trust(folder)
        for number in range(links):
            trust.write(f"site-{number}", trust.authority.client(f"site-{number}", NOW, 60))
        central = stack.enter_context(receiver("central_pg", trust, CONNECTIONS=2 * links))
        process = psutil.Process(central.pid)
        before = process.memory_info().rss
        begun = time.perf_counter()
        held = stack.enter_context(hold(central.port, folder, links))
        took = time.perf_counter() - begun
        cpu = sum(process.cpu_times()[:2])
        try:
            held.wait(seconds)
        except subprocess.TimeoutExpired:
            load = (sum(process.cpu_times()[:2]) - cpu) / seconds
        else:
            raise AssertionError("a site lost its link")
        grown = process.memory_info().rss - before
        return {"links": links, "kib": grown / 1024 / links, "linked_after": took, "load": load}


@contextmanager
def hold(port: int, folder: Path, links: int) -> Iterator[subprocess.Popen[str]]:
    """The process with the sites, once all are linked."""
    words = [sys.executable, "-m", "benchmarks.idle_links", "--links", str(links)]
    command = [*words, "--hold", str(port), "--folder", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == READY
            yield process
        finally:
            process.kill()


def main() -> int:
    """Measure; 1 if a link takes too much memory."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--links", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--hold", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        asyncio.run(stay(options.hold, options.folder, options.links))
        return 0
    found = measure(options.links, options.seconds)
    uvloop = "with" if importlib.util.find_spec("uvloop") else "without"
    table = Table(title=f"{options.links:,} idle links to one process, {uvloop} uvloop")
    for title in ("KiB a link", "goal", "all linked after", "CPU, of one core"):
        table.add_column(title, justify="right")
    table.add_row(
        f"{found['kib']:.1f}",
        f"at most {GOAL_KIB:g}",
        f"{found['linked_after']:.1f} s",
        f"{found['load']:.1%}",
    )
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(found["kib"] > GOAL_KIB)


if __name__ == "__main__":
    sys.exit(main())
