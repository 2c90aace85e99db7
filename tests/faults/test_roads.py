"""What stands between the two ends: a balancer that ends idle connections, names, IPv6."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.compare import compare
from polls.models import Tag
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until, wait_until_applied
from tests.faults.bad_input.ends import Receiver, certs
from tests.servers import HOST

SQLITE = pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
IDLE = 1.5


class Balancer:
    """Passes bytes on, one connection at a time, and cuts one where none came for IDLE seconds."""

    def __init__(self, server_port: int) -> None:
        self.cuts = 0
        self._server_port = server_port
        self._listening = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def end(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, socket.create_connection((HOST, self._server_port)) as server:
                try:
                    self._pass_on({client: server, server: client})
                except OSError:
                    continue

    def _pass_on(self, other: dict[socket.socket, socket.socket]) -> None:
        while ready := select.select(list(other), [], [], IDLE)[0]:
            for sock in ready:
                if not (data := sock.recv(1 << 16)):
                    return
                other[sock].sendall(data)
        self.cuts += 1


@contextmanager
def balanced(server_port: int) -> Iterator[Balancer]:
    balancer = Balancer(server_port)
    balancer.start()
    try:
        yield balancer
    finally:
        balancer.end()


@SQLITE
@pytest.mark.parametrize("heartbeat", [0.3, 5.0], ids=["quicker", "slower"])
def test_a_balancer_that_ends_idle_connections(
    pair: Pair, certificates: Certificates, heartbeat: float
) -> None:
    """Heartbeats keep the connection; where they are too slow, a new one goes on."""
    settings = {"HEARTBEAT": heartbeat}
    with (
        ReceiverProcess(pair.central, certificates, settings=settings) as central,
        balanced(central.port) as balancer,
        SenderProcess(pair.site, certificates, balancer.address) as sender,
    ):
        Tag(name="one").save(using=pair.site)
        wait_until_applied(pair, sender, central)
        if heartbeat < IDLE:
            threading.Event().wait(2 * IDLE)
        else:
            wait_until(lambda: balancer.cuts > 0, "a cut", 10)
        Tag(name="two").save(using=pair.site)
        wait_until_applied(pair, sender, central)
        # Central may be done before the sender has said that it is connected.
        wait_until(lambda: connections(sender) > balancer.cuts, "connected again", 10)
        assert (connections(sender) > 1) == (balancer.cuts > 0) == (heartbeat > IDLE)
        assert sender.stop() == 0
    assert compare([Tag], pair.site, pair.central) == []


def connections(sender: SenderProcess) -> int:
    return len([line for line in sender.lines if "Connected to" in line])


@SQLITE
def test_ipv6(pair: Pair, certificates: Certificates) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    with Receiver(pair.central, certificates, "--bind", "[::1]:0") as central:
        port = central.wait_for_line(r"istening on \[::1\]:(\d+)")[1]
        with SenderProcess(pair.site, certificates, f"[::1]:{port}") as sender:
            Tag(name="one").save(using=pair.site)
            wait_until_applied(pair, sender, central)
            assert sender.stop() == 0
    assert compare([Tag], pair.site, pair.central) == []


# In the place of a name server: central's address is what a file says.
RESOLVING = """
import os, socket, sys
from pathlib import Path
file, real = Path(os.environ["CENTRAL_ADDRESS"]), socket.getaddrinfo
def look_up(host, *arguments, **options):
    return real(file.read_text() if host == "central.test" else host, *arguments, **options)
socket.getaddrinfo = look_up
from django.core.management import execute_from_command_line
execute_from_command_line(["django", *sys.argv[4:]])
"""


@SQLITE
def test_central_moves_to_another_address(
    pair: Pair, certificates: Certificates, tmp_path: Path
) -> None:
    """Its name is looked up at each attempt, so that the sender follows it by itself."""
    if sys.platform != "linux":
        pytest.skip("only Linux has 127.0.0.2 without more ado")
    certs(certificates.folder, "server", "central.test")
    own = certificates.settings("central.test")
    address = tmp_path / "address"
    address.write_text("127.0.0.1")
    with Receiver(pair.central, certificates, settings=own) as central:
        to = f"central.test:{central.port}"
        sender = SenderProcess(
            pair.site, certificates, to, environment={"CENTRAL_ADDRESS": os.fspath(address)}
        )
        sender.launcher = [sys.executable, "-c", RESOLVING]
        with sender:
            Tag(name="one").save(using=pair.site)
            wait_until_applied(pair, sender, central)
            central.stop()
            bind = f"127.0.0.2:{central.port}"
            with Receiver(pair.central, certificates, "--bind", bind, settings=own) as moved:
                sender.wait_for_line("Nothing listens at central.test")
                Tag(name="two").save(using=pair.site)
                address.write_text("127.0.0.2")
                wait_until_applied(pair, sender, moved)
                assert sender.stop() == 0
    assert compare([Tag], pair.site, pair.central) == []
