"""Several processes that share one port: which of them a site meets makes no difference."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from typing import Any

import psutil
import pytest

from sockstream import tls
from sockstream.conf import Settings
from sockstream.receiver.models import Offset
from sockstream.receiver.roads.mtls.workers import share
from tests.databases import Databases
from tests.ends import ReceiverProcess, wait_until
from tests.integration.receiver.process import receiver
from tests.integration.receiver.site import PATIENCE, Oplog, PeerClosing, Site, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

WORKERS = 3
_NUMBERS = count()


@pytest.fixture
def central_db(databases: Databases) -> str:
    databases.clean("central_pg", "site_pg")
    return "central_pg"


@pytest.fixture
def running(central_db: str, trust: Trust) -> Iterator[ReceiverProcess]:
    with receiver(central_db, trust, WORKERS, HEARTBEAT=0.5, STREAMS=1_000) as process:
        yield process


@pytest.fixture
def site(running: ReceiverProcess, trust: Trust) -> Iterator[Callable[..., Site]]:
    context = tls.client_context(trust.ca, *trust.client())
    with ExitStack() as made:

        def make(**options: Any) -> Site:
            found = Site(("127.0.0.1", running.port), context, **options)
            made.callback(found.close)
            return found

        yield make


def workers(running: ReceiverProcess) -> list[psutil.Process]:
    return psutil.Process(running.pid).children()


def worker_of(site: Site, running: ReceiverProcess) -> int:
    """The process that has the site's connection."""
    mine = site.sock.getsockname()
    for worker in workers(running):
        if mine in {tuple(connection.raddr) for connection in worker.net_connections("tcp")}:
            return worker.pid
    raise AssertionError("nobody has it")


def reached(site: Callable[..., Site], running: ReceiverProcess, others: set[int]) -> Site:
    """A site of a stream of its own, linked to none of the `others`."""
    for _ in range(100):
        found = site(stream=f"s{next(_NUMBERS)}")
        found.connect()
        if worker_of(found, running) not in others:
            return found
        found.close()
    raise AssertionError("always the same worker")


def test_all_of_them_together_keep_to_the_limits() -> None:
    given = Settings(CONNECTIONS=100, HANDSHAKES=10, WINDOW_TOTAL=3 << 20, APPLIERS=4)
    each = share(given, 3, "central_pg")
    assert (each.CONNECTIONS, each.HANDSHAKES, each.WINDOW_TOTAL) == (34, 4, 1 << 20)
    assert replace(each, CONNECTIONS=100, HANDSHAKES=10, WINDOW_TOTAL=3 << 20) == given


def test_connections_are_dealt_out(running: ReceiverProcess, site: Callable[..., Site]) -> None:
    met: set[int] = set()
    while len(met) < WORKERS:
        met.add(worker_of(reached(site, running, met), running))
    assert met == {worker.pid for worker in workers(running)}


def test_a_newer_connection_has_the_stream_in_whichever_worker(
    central_db: str, running: ReceiverProcess, site: Callable[..., Site]
) -> None:
    oplog = Oplog()
    oplog.add(slots(3))
    old = site(oplog=oplog)
    old.connect()
    old.send_all()
    met = {worker_of(old, running)}
    while True:
        new = site(oplog=oplog)
        new.connect()
        if worker_of(new, running) not in met:
            break
        old = new
    oplog.add(slots(3))
    # The older one does not know yet; what it sends is not applied.
    old.fill()
    error = old.wait_until_closed()
    assert error is not None
    assert error.code == "fenced"
    new.send_all()
    offset = Offset.objects.using(central_db).get()
    assert Slot.objects.using(central_db).count() == offset.seq == oplog.seq
    assert (offset.records_applied, offset.inserts_met) == (oplog.seq, 0)


def test_who_is_killed_is_replaced(
    central_db: str, running: ReceiverProcess, site: Callable[..., Site]
) -> None:
    before = {worker.pid for worker in workers(running)}
    oplog = Oplog()
    for _ in range(2 * WORKERS):
        mine = site(oplog=oplog)
        with connected(mine):
            for _ in range(20):
                oplog.add(slots(20), slots(5))
            mine.run(lambda: mine.acked > 0, "some acks")  # noqa: B023
            mine.fill()
            mine.pump()
            os.kill(worker_of(mine, running), signal.SIGKILL)
            mine.wait_until_closed()
            assert Offset.objects.using(central_db).get().seq >= mine.acked
    with connected(site(oplog=oplog)) as last:
        last.send_all(60)
    wait_until(lambda: len(workers(running)) == WORKERS, "all workers are back")
    assert len(before & {worker.pid for worker in workers(running)}) < WORKERS
    running.wait_for_line(r"Worker \d of 3 \(process \d+\) has ended \(SIGKILL\): another one")
    assert running.running
    offset = Offset.objects.using(central_db).get()
    assert Slot.objects.using(central_db).count() == offset.seq == oplog.seq
    assert (offset.records_applied, offset.inserts_met) == (oplog.seq, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_drains_all_of_them(
    central_db: str,
    running: ReceiverProcess,
    site: Callable[..., Site],
    number: signal.Signals,
    group: bool,
) -> None:
    """Also if the whole group of processes gets it, as from a terminal or from systemd."""
    first = reached(site, running, set())
    second = reached(site, running, {worker_of(first, running)})
    children = workers(running)
    for each in (first, second):
        each.oplog.add(slots(50))
        each.send_all()
    if group:
        for child in children:
            child.send_signal(number)
    running.signal(number)
    for each in (first, second):
        assert each.wait_until_closed() is None, running.log
        assert each.said(PeerClosing)[0].bye.reason == "shutdown"
    assert running.wait() == 0
    assert not any(child.is_running() for child in children)
    assert running.log.count("Stopped") == WORKERS
    assert "Traceback" not in running.log
    assert set(Offset.objects.using(central_db).values_list("state", flat=True)) == {"idle"}


def test_who_comes_while_they_stop_is_turned_away(
    running: ReceiverProcess, site: Callable[..., Site]
) -> None:
    silent = site()
    silent.connect()
    running.signal(signal.SIGTERM)

    def is_turned_away() -> bool:
        try:
            socket.create_connection(("127.0.0.1", running.port), 0.1).close()
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            pass
        return False

    wait_until(is_turned_away, "no more connections", within=2)
    assert running.running, "it waits for the goodbye of the silent one"
    assert running.wait() == 0


def test_they_stop_in_good_order_without_their_parent(
    running: ReceiverProcess, site: Callable[..., Site]
) -> None:
    mine = site()
    mine.connect()
    children = workers(running)
    running.kill()
    assert mine.wait_until_closed() is None
    assert mine.said(PeerClosing)[0].bye.reason == "shutdown"
    gone, alive = psutil.wait_procs(children, PATIENCE)
    assert (len(gone), alive) == (WORKERS, [])


def test_a_hangup_reaches_all_of_them(
    running: ReceiverProcess, site: Callable[..., Site], central_db: str
) -> None:
    from sockstream.receiver.models import Source

    first = reached(site, running, set())
    second = reached(site, running, {worker_of(first, running)})
    Source.objects.using(central_db).update(disabled=True)
    running.signal(signal.SIGHUP)
    for each in (first, second):
        error = each.wait_until_closed()
        assert error is not None
        assert error.code == "source-disabled"
