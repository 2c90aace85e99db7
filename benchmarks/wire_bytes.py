"""How many bytes travel for a record, beside the JSON line that the file way writes for it.

    python -m benchmarks.wire_bytes [--rounds 20] [--json FILE]

The site writes the workload row by row; then `oplog_send` brings it to central through a meter that
passes TCP on and counts: everything from the first byte of the handshake, TLS included, towards
central. Once with SOCKSTREAM["COMPRESS"], once without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.core import serializers  # noqa: E402
from django.db import connections  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.workload import ROUND, Site  # noqa: E402
from polls.models import Choice, Question  # noqa: E402
from tests.conftest import PAIRS  # noqa: E402
from tests.databases import Databases, Pair  # noqa: E402
from tests.ends import Certificates, ReceiverProcess, SenderProcess  # noqa: E402

GOALS = {"compressed": 1 / 5, "plain": 1 / 2}
CHUNK = 1 << 16


class Meter(threading.Thread):
    """Passes TCP connections on to `target`, and counts the bytes towards it."""

    def __init__(self, target: str) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.address = ""
        self._host, _, self._port = target.rpartition(":")
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        self.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()

    def run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.close()

    async def _pass(self, site: asyncio.StreamReader, to_site: asyncio.StreamWriter) -> None:
        central, to_central = await asyncio.open_connection(self._host, int(self._port))
        back = asyncio.ensure_future(self._copy(central, to_site, 0))
        await self._copy(site, to_central, 1)
        await back

    async def _copy(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, counted: int
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                self.bytes += len(data) * counted
                target.write(data)
                await target.drain()
        target.close()


def measure(pair: Pair, certificates: Certificates, rounds: int) -> dict[str, float]:
    """Bytes a record, by the way it travels."""
    site = Site(pair.site, Question, Choice)
    found = {"json": 0.0}
    with ReceiverProcess(pair.central, certificates) as central:
        site.fill(20)
        send(pair, certificates, central.address)
        for name in GOALS:
            found["json"] = json_bytes(site, rounds)
            with Meter(central.address) as meter:
                send(pair, certificates, meter.address, compress=name == "compressed")
            found[name] = meter.bytes / rounds / ROUND
    return found


def json_bytes(site: Site, rounds: int) -> float:
    """Write some rounds; bytes of one JSON line each."""
    size = 0
    for _ in range(rounds):
        done = site.save()
        for row in [*done.inserted, *done.updated, *done.deleted]:
            size += len(serializers.serialize("json", [row]).encode()) + 1
    return size / rounds / ROUND


def send(pair: Pair, certificates: Certificates, address: str, *, compress: bool = True) -> None:
    """Bring over what waits."""
    settings = {"COMPRESS": compress}
    with SenderProcess(pair.site, certificates, address, once=True, settings=settings) as sender:
        assert sender.wait(300) == 0, sender.log


def main() -> int:
    """Measure; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", metavar="FILE", help="write the sizes there as well")
    options = parser.parse_args()
    pair = PAIRS["sqlite-sqlite"]
    with ExitStack() as stack:
        databases = Databases()
        stack.callback(databases.close)
        stack.callback(connections.close_all)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases.clean(pair.site, pair.central)
        found = measure(pair, Certificates.make(folder), options.rounds)
    table = Table(title=f"Bytes a record, of {options.rounds * ROUND:,}")
    for title in ("way", "bytes", "of the JSON lines", "goal"):
        table.add_column(title, justify="left" if title == "way" else "right")
    for name, size in found.items():
        goal = f"at most {GOALS[name]:.2f}" if name in GOALS else ""
        table.add_row(name, f"{size:.1f}", f"{size / found['json']:.3f}", goal)
    Console(width=120).print(table)
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(any(found[name] > goal * found["json"] for name, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
