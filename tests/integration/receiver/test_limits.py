"""What central keeps in memory stays bounded, whatever a site does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from django.db import connections

from sockstream import tls
from sockstream.receiver.signals import records_applied
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Ping, Records, pack
from tests.databases import Databases
from tests.integration.receiver.central import Central
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Oplog, Site, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

SMALL_CACHE = "PRAGMA journal_mode = WAL; PRAGMA cache_size = -1999"
WINDOW = 1 << 20


@pytest.fixture
def central_db(databases: Databases) -> str:
    databases.clean("central_sqlite")
    return "central_sqlite"


@contextmanager
def stalled() -> Iterator[threading.Event]:
    """Appliers wait after their first commit, until the event is set."""
    go_on = threading.Event()

    def hear(**_: Any) -> None:
        go_on.wait(30)

    records_applied.connect(hear)
    try:
        yield go_on
    finally:
        go_on.set()
        records_applied.disconnect(hear)


def test_a_slow_applier_stops_the_site_by_credit(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, WINDOW=WINDOW) as running, stalled() as go_on:
        site = running.site()
        for _ in range(30):
            site.oplog.add(slots(100, 1000))
        with connected(site):
            until = time.monotonic() + 1.0
            site.run(lambda: time.monotonic() > until, "as much as may be sent")
            sent = sum(b.size for b in site.oplog.batches if b.last_seq <= site.session.sent_seq)
            assert WINDOW - site.oplog.batches[0].size < sent <= WINDOW
            go_on.set()
            site.send_all()


def test_a_site_that_ignores_its_credit_is_dropped(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, WINDOW=WINDOW) as running, stalled():
        site = running.site()
        for _ in range(30):
            site.oplog.add(slots(100, 1000))
        site.connect()
        for batch in site.oplog.batches:
            site._outbound += pack(Records(batch))
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "window-exceeded"


def test_a_window_comes_back_when_its_link_goes(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, WINDOW=WINDOW) as running:
        before = running.server.terms.windows.left
        sites = [running.site(f"site-{number}") for number in range(3)]
        assert [site.connect().window for site in sites] == [WINDOW] * 3
        assert running.server.terms.windows.left == before - 3 * WINDOW
        for site in sites:
            site.close()
    assert running.server.terms.windows.left == before


def test_all_windows_together_are_bounded(central_db: str, trust: Trust) -> None:
    """Each link gets an eighth of what is left."""
    total = 2 << 20
    with Central(central_db, trust, WINDOW=WINDOW, WINDOW_TOTAL=total) as running:
        taken = [running.site(f"site-{number}").connect().window for number in range(8)]
    assert taken[0] == total // 8
    assert taken == sorted(taken, reverse=True)
    assert sum(taken) <= total


def test_ping_flood(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running:
        site = running.site()
        site.connect()
        site._outbound = pack(Ping(1)) * 10_000
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "too-many-pings"


def test_a_site_that_reads_nothing_is_dropped(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, HEARTBEAT=0.3) as running:
        site = running.site()
        site.connect()
        running.wait_for_line("Nothing came from the peer")
        site.close()


def test_memory_stays_flat(central_db: str, trust: Trust) -> None:
    """A backlog forty times the window goes through; central's memory does not see it."""
    oplog = Oplog()
    for _ in range(20):
        oplog.add(slots(100, 1000))
    with (
        # SQLite's own cache would fill up meanwhile.
        receiver(central_db, trust, pragmas=SMALL_CACHE, WINDOW=WINDOW) as running,
        connected(site_of(running, trust, oplog)) as site,
    ):
        site.send_all()
        process = psutil.Process(running.pid)
        before = highest = process.memory_info().rss
        for _ in range(400):
            oplog.add(slots(100, 1000))
            site.fill()
            site.pump()
            highest = max(highest, process.memory_info().rss)
        site.send_all(60)
    assert highest - before < 24 << 20, f"{(highest - before) >> 20} MiB more"
    assert Slot.objects.using(central_db).count() == oplog.seq
    connections[central_db].close()


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 101])
def test_a_stream_s_name_is_one_short_line(central_db: str, trust: Trust, name: str) -> None:
    with Central(central_db, trust) as running:
        with pytest.raises(WireError, match="is no name for a stream"):
            running.site(stream=name).connect()
        assert all("\n" not in line for line in running.lines)


def test_no_file_descriptors_left(central_db: str, trust: Trust) -> None:
    """Central waits until there are some again; who is connected notices nothing."""
    oplog = Oplog()
    oplog.add(slots(1))
    with receiver(central_db, trust) as running:
        with connected(site_of(running, trust, oplog)) as site:
            site.send_all()
            process = psutil.Process(running.pid)
            before = process.rlimit(psutil.RLIMIT_NOFILE)
            few = process.num_fds() + 2
            process.rlimit(psutil.RLIMIT_NOFILE, (few, before[1]))
            address = ("127.0.0.1", running.port)
            crowd = [socket.create_connection(address) for _ in range(8)]
            running.wait_for_line("Too many open files")
            oplog.add(slots(1))
            site.send_all()
            for one in crowd:
                one.close()
            process.rlimit(psutil.RLIMIT_NOFILE, before)
            context = tls.client_context(trust.ca, *trust.client("late"))
            late = Site(address, context)
            late.oplog.add(slots(1))
            with connected(late):
                late.send_all()
        assert "Traceback" not in running.log
