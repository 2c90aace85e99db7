"""A site that writes a row a second, and prints how many seconds each took until it was acked.

    python -m tests.faults.rows PORT CA CERT KEY

It ends when its standard input does, after the row that it waits for.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from sockstream import tls
from sockstream.wire.digest import ZERO
from sockstream.wire.records import INSERT, BatchBuilder, Layout
from tests.crowd import Client

SLOT = Layout("zoo.slot", ("id",), ("name", "position"))
EVERY = 1.0


async def write(client: Client, ended: threading.Event) -> None:
    """Each row is sent when the one before is acked."""
    digest = ZERO
    await client.connect()
    while not ended.is_set():
        seq = len(client.batches) + 1
        builder = BatchBuilder(seq, digest)
        builder.add(INSERT, SLOT, (UUID(int=seq).bytes, "alone", None))
        batch = builder.build()
        digest = batch.digest_after
        client.batches.append(batch)
        begun = time.monotonic()
        await client.run(lambda: client.acked >= len(client.batches))
        sys.stdout.write(f"{time.monotonic() - begun}\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await client.run(ended.is_set)
    client.cut()


def main() -> None:
    """Write until the standard input is closed."""
    port, ca, cert, key = sys.argv[1:]
    ended = threading.Event()
    threading.Thread(target=_await_end, args=[ended], daemon=True).start()
    context = tls.client_context(Path(ca), Path(cert), Path(key))
    asyncio.run(write(Client(int(port), context, 0), ended))


def _await_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
