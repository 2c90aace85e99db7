"""Hundreds of sites that come back at once, and a transaction of very many records.

SOCKSTREAM_SITES and SOCKSTREAM_ROWS set how many there are.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import psutil
import pytest
from django.db import connections, transaction

from demo.compare import compare
from sockstream import tls
from sockstream.receiver.models import Offset, Source
from tests.conftest import PAIRS
from tests.crowd import Client
from tests.databases import Databases, Pair
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until_applied
from tests.integration.receiver.process import receiver
from tests.unit.trust import Trust
from tests.zoo.models import Slot

SITES = int(os.environ.get("SOCKSTREAM_SITES", "100"))
BACK_WITHIN = 30.0
A_SITE = 400 << 10
ROWS = int(os.environ.get("SOCKSTREAM_ROWS", "20000"))
IDS = ["sqlite-sqlite", "pg-pg"]


async def all_connect(clients: list[Client]) -> None:
    await asyncio.gather(*map(reach, clients))
    for client in clients:
        client.cut()


async def reach(client: Client) -> None:
    while True:
        try:
            return await client.connect()
        except OSError:
            # Nobody listens yet.
            await asyncio.sleep(0.05)


@pytest.mark.slow
def test_many_sites_come_back_at_once(databases: Databases, trust: Trust) -> None:
    """Central was killed. All of them are back soon, and its memory is that of its links."""
    databases.clean("central_pg")
    with receiver("central_pg", trust) as central:
        clients = [
            Client(central.port, tls.client_context(trust.ca, *trust.client(f"site-{n}")), n)
            for n in range(SITES)
        ]
        asyncio.run(all_connect(clients))
        central.kill()
        central.start()
        central.wait_until_listening()
        process = psutil.Process(central.pid)
        before = process.memory_info().rss
        begun = time.monotonic()
        asyncio.run(all_connect(clients))
        seconds = time.monotonic() - begun
        grown = process.memory_info().rss - before
        sys.stdout.write(f"{SITES} sites in {seconds:.1f} s, {grown >> 10} KiB\n")
        assert seconds < BACK_WITHIN
        assert grown < (32 << 20) + SITES * A_SITE
        assert "Traceback" not in central.log
        assert Source.objects.using("central_pg").count() == SITES
        sessions = Offset.objects.using("central_pg").values_list("session", flat=True)
        assert len(sessions) == SITES
    connections["central_pg"].close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", [PAIRS[name] for name in IDS], ids=IDS, indirect=True)
def test_a_transaction_of_very_many_records(pair: Pair, certificates: Certificates) -> None:
    """It is applied as one, and neither end keeps it in memory."""
    settings = {"GROUP_RECORDS": 2 * ROWS}
    with transaction.atomic(using=pair.site):
        for first in range(0, ROWS, 5_000):
            many = (Slot(name=f"row {number}") for number in range(first, first + 5_000))
            Slot.objects.using(pair.site).bulk_create(many)
    with (
        ReceiverProcess(pair.central, certificates) as central,
        SenderProcess(pair.site, certificates, central.address, settings=settings) as sender,
    ):
        seen, highest = set(), {central.pid: 0, sender.pid: 0}
        offset = Offset.objects.using(pair.central)
        until = time.monotonic() + 300
        while (applied := sum(offset.values_list("seq", flat=True))) < ROWS:
            assert time.monotonic() < until
            seen.add(Slot.objects.using(pair.central).count())
            for pid, size in highest.items():
                highest[pid] = max(size, psutil.Process(pid).memory_info().rss)
            time.sleep(0.05)
        assert applied == ROWS
        assert seen <= {0, ROWS}, "somebody has seen a part of it"
        wait_until_applied(pair, sender, central)
        mib = {pid: size >> 20 for pid, size in highest.items()}
        sys.stdout.write(f"central {mib[central.pid]} MiB, the sender {mib[sender.pid]} MiB\n")
        assert max(mib.values()) < 256
    assert offset.get().records_applied == ROWS
    assert compare([Slot], pair.site, pair.central) == []
