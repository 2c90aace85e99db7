"""Central's database goes away just when it commits, or comes back as an older copy of itself."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import threading
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Self

import pytest
from django.db import connections

from demo.compare import compare
from polls.models import Tag
from sockstream.receiver.models import Offset
from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    position,
    wait_until_applied,
)
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Acked, Oplog, connected, slots
from tests.servers import HOST
from tests.unit.trust import Trust
from tests.zoo.models import Slot

CHUNK = 1 << 16


class Between:
    """Between central and PostgreSQL: ends a connection at its COMMIT, once it is asked to.

    `before`: PostgreSQL never hears the COMMIT. Else it has carried it out, and the answer is lost.
    """

    def __init__(self, server_port: int, *, before: bool) -> None:
        self.asked = threading.Event()
        self.cut = threading.Event()
        self._server_port = server_port
        self._before = before
        self._stack = ExitStack()
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._stack.close()

    def _start(self, run: object, *arguments: object) -> None:
        threading.Thread(target=run, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection((HOST, self._server_port))
            self._stack.enter_context(client)
            self._stack.enter_context(server)
            self._start(self._ask, client, server)
            self._start(self._answer, client, server)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if b"COMMIT" in data and self.asked.is_set():
                self.asked.clear()
                # So the answer goes nowhere.
                client.shutdown(socket.SHUT_RDWR)
                if not self._before:
                    server.sendall(data)
                    self.cut.wait()
                break
            server.sendall(data)
        _end(server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(server):
            try:
                client.sendall(data)
            except OSError:
                break
        self.cut.set()
        _end(client)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(CHUNK)
    except OSError:
        return b""


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("before", [True, False], ids=["not committed", "committed"])
def test_the_answer_to_a_commit_is_lost(databases: Databases, trust: Trust, before: bool) -> None:
    """Central cannot know whether it has committed; the offset in the database tells it."""
    databases.clean("central_pg")
    oplog = Oplog()
    oplog.add(slots(5))
    port = int(connections["central_pg"].settings_dict["PORT"])
    offset = Offset.objects.using("central_pg")
    with Between(port, before=before) as between:
        central = receiver("central_pg", trust)
        central._environment["SOCKSTREAM_TEST_POSTGRESQL"] = str(between.port)
        with central, connected(site_of(central, trust, oplog)) as site:
            site.send_all()
            between.asked.set()
            oplog.add(slots(5))
            site.run(lambda: not between.asked.is_set(), "the commit")
            site.send_all()
            assert [event.offset for event in site.said(Acked)] == [5, 10]
            central.wait_for_line("the database failed, trying again")
            assert central.stop() == 0
        assert "Traceback" not in central.log
    assert (offset.get().records_applied, offset.get().inserts_met) == (10, 0)
    assert Slot.objects.using("central_pg").count() == 10
    connections["central_pg"].close()


@pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
def test_an_older_copy_takes_the_place_of_central_s_database(
    pair: Pair, certificates: Certificates, tmp_path: Path
) -> None:
    """As after a fail-over to a replica that lags: what it lacks is sent again."""
    path, copy = Path(connections[pair.central].settings_dict["NAME"]), tmp_path / "older"
    with (
        ReceiverProcess(pair.central, certificates) as central,
        SenderProcess(pair.site, certificates, central.address) as sender,
    ):
        Tag(name="one").save(using=pair.site)
        wait_until_applied(pair, sender, central)
        with closing(sqlite3.connect(path)) as database:
            database.execute("VACUUM INTO ?", [str(copy)])
        Tag(name="two").save(using=pair.site)
        wait_until_applied(pair, sender, central)
        central.stop()
        connections[pair.central].close()
        for part in path.parent.glob(f"{path.name}-*"):
            part.unlink()
        shutil.copyfile(copy, path)
        assert position(pair) == (2, 1)
        central.start()
        central.wait_until_listening()
        sender.wait_for_line("Central stands at 1 although it had acked 2")
        central.wait_for_line("restored from an older copy. What it lost is sent again")
        wait_until_applied(pair, sender, central)
        Tag(name="three").save(using=pair.site)
        wait_until_applied(pair, sender, central)
    assert compare([Tag], pair.site, pair.central) == []
    assert Offset.objects.using(pair.central).get().records_applied == 3
