"""`make lines`: many sites upload a long group each over lines that break all the time.

Another site writes a row a second meanwhile. In the end all rows have come, central's memory was
that of its windows, and the slowest of the single rows was there within a second.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

import django

from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError
from sockstream.wire.records import INSERT, Batch, BatchBuilder, Layout

if TYPE_CHECKING:
    from tests.crowd import Client
    from tests.unit.trust import Trust

DATABASES = {"sqlite": "central_sqlite", "postgresql": "central_pg"}
SLOT = Layout("zoo.slot", ("id",), ("name", "position"))
BATCH_RECORDS = 1_000
VISIBLE_WITHIN = 1.0
"""Seconds that another site's single row may take."""
ROOM = 256 << 20
"""Bytes that central may take beyond what it took before: its windows, and a transaction."""
ROOT = Path(__file__).parents[2]
_ENDS_WITHIN = 60.0
_PAUSE = 0.2


@dataclass
class Result:
    """What came of a run. Sizes are in bytes, times in seconds."""

    sites: int
    records: int
    arrived: int = 0
    seconds: float = 0.0
    breaks: int = 0
    writes: list[float] = field(default_factory=list)
    before: int = 0
    peak: int = 0

    @property
    def faults(self) -> list[str]:
        """What was not as it has to be."""
        slowest = max(self.writes, default=float("inf"))
        found = {
            f"{self.arrived:,} of {self.sites * self.records:,} records arrived": (
                self.arrived != self.sites * self.records
            ),
            f"a single row took {slowest:.2f} s": slowest > VISIBLE_WITHIN,
            f"central took {self.peak - self.before >> 20} MiB": self.peak - self.before > ROOM,
        }
        return [words for words, wrong in found.items() if wrong]

    def __str__(self) -> str:
        slowest = max(self.writes, default=float("nan"))
        return (
            f"{self.arrived:,} of {self.sites} x {self.records:,} records in {self.seconds:.1f} s, "
            f"{self.breaks} breaks; {len(self.writes)} single rows, the slowest after "
            f"{slowest:.2f} s; central's memory {self.before >> 20} MiB, at most "
            f"{self.peak >> 20} MiB"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run on each database that is asked for; 0 if all was as it has to be."""
    options = _options(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from tests.databases import Databases
    from tests.unit.trust import Trust

    failed = False
    with (
        tempfile.TemporaryDirectory(prefix="sockstream-") as folder,
        closing(Databases()) as databases,
    ):
        trust = Trust(Path(folder) / "trust")
        for name in [options.database] if options.database else DATABASES:
            databases.clean(DATABASES[name])
            how = options.sites, options.records, options.every, options.within
            upload = Upload(*how, rate=options.rate)
            result = upload.run(DATABASES[name], trust)
            print(f"{name}: {result}", flush=True)
            for words in result.faults:
                print(f"{name}: FOUND: {words}", file=sys.stderr, flush=True)
            failed = failed or bool(result.faults)
    return int(failed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lines", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--records", type=int, default=200_000, help="in the group of each site")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two breaks")
    parser.add_argument("--rate", type=float, default=math.inf, help="bytes a second on each line")
    parser.add_argument("--within", type=float, default=1_800.0, help="seconds until it has failed")
    parser.add_argument("--database", choices=DATABASES, help="on this one alone")
    return parser.parse_args(arguments)


class Upload:
    """The sites, their lines, and the one that writes meanwhile."""

    def __init__(
        self, sites: int, records: int, every: float, within: float, *, rate: float = math.inf
    ) -> None:
        self.result = Result(sites, records)
        self._every = every
        self._within = within
        self._rate = rate

    def run(self, alias: str, trust: Trust) -> Result:
        """Upload to a receiver on the database `alias`. Raises AssertionError if an end fails."""
        from sockstream import tls
        from tests.crowd import Client
        from tests.faults.proxy import Proxy
        from tests.integration.receiver.process import receiver
        from tests.servers import HOST

        result = self.result

        def client(port: int, number: int) -> Client:
            paths = trust.client(f"site-{number}")
            return Client(port, tls.client_context(trust.ca, *paths), number)

        with receiver(alias, trust) as central, Proxy((HOST, central.port)) as proxy:
            line = int(proxy.address.rpartition(":")[2])
            clients = [client(line, number) for number in range(1, result.sites + 1)]
            for number, one in enumerate(clients, 1):
                one.batches = list(group(number, result.records))
            single = Rows(central.port, trust.ca, trust.client("site-0"))
            result.before = peak_of(central.pid)
            begun = time.monotonic()
            with single, proxy.slow(self._rate, 0.0):
                asyncio.run(self._upload(clients))
            result.seconds = time.monotonic() - begun
            result.writes = single.writes
            result.peak = peak_of(central.pid)
            assert "Traceback" not in central.log, central.log
        result.arrived = _arrived(alias) - len(result.writes)
        return result

    async def _upload(self, clients: Sequence[Client]) -> None:
        uploads = [self._through(one, random.Random(n)) for n, one in enumerate(clients)]
        try:
            async with asyncio.timeout(self._within):
                await asyncio.gather(*uploads)
        except TimeoutError:
            return  # what is missing is counted

    async def _through(self, client: Client, draw: random.Random) -> None:
        """Upload all of it, over as many connections as that takes."""
        last = client.batches[-1].last_seq
        while True:
            try:
                # Not all lines at once, and each for about as long as it is said.
                async with asyncio.timeout(self._every * draw.uniform(0.5, 1.5)):
                    await client.connect()
                    await client.run(lambda: client.acked >= last)
            except (TimeoutError, OSError, WireError):
                self.result.breaks += 1
                client.cut()
                await asyncio.sleep(_PAUSE * draw.random())
            else:
                client.cut()
                return


class Rows:
    """Another site, in a process of its own, that writes a row a second as long as it is entered.

    Its line holds. `writes` is how many seconds each row took until it was acked.
    """

    def __init__(self, port: int, ca: Path, paths: tuple[Path, Path]) -> None:
        self.writes: list[float] = []
        command = [sys.executable, "-m", "tests.faults.rows", str(port), str(ca), *map(str, paths)]
        self._command = command

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        printed, _ = self._process.communicate("", _ENDS_WITHIN)
        assert self._process.returncode == 0, "the site that writes single rows failed"
        self.writes = [float(line) for line in printed.split()]


def group(site: int, records: int) -> Iterator[Batch]:
    """The batches of one group of a site."""
    digest = ZERO
    for first in range(1, records + 1, BATCH_RECORDS):
        builder = BatchBuilder(first, digest)
        last = min(first + BATCH_RECORDS - 1, records)
        for number in range(first, last + 1):
            key = UUID(int=(site << 64) + number).bytes
            builder.add(INSERT, SLOT, (key, f"row {number} of site {site}", None))
        batch = builder.build(open=last < records)
        digest = batch.digest_after
        yield batch


def peak_of(pid: int) -> int:
    """The most memory that the process has had so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _arrived(alias: str) -> int:
    from tests.zoo.models import Slot

    return Slot.objects.using(alias).count()


if __name__ == "__main__":
    sys.exit(main())
