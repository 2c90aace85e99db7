"""The link raises where its parent, logging.handlers.SocketHandler, drops in silence."""

from __future__ import annotations

import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from logging.handlers import SocketHandler
from pathlib import Path

import pytest

from sockstream import tls
from sockstream.conf import Settings
from sockstream.sender.link import Link
from sockstream.sender.roads import Roads
from sockstream.tls.papers import Paths
from sockstream.wire import frames, messages
from sockstream.wire.errors import Class, WireError
from tests.unit.trust import NOW, YEAR, Trust
from tests.unit.trust import Paths as Files

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, in openssl/x509_vfy.h."""
DEADLINE = 10.0


class Central:
    """A TLS server for one connection."""

    def __init__(self, trust: Trust, pair: Files | None = None) -> None:
        self._context = tls.server_context(trust.ca, *(pair or trust.server()))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connection: ssl.SSLSocket | None = None
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        plain, _ = self._listening.accept()
        plain.settimeout(DEADLINE)
        self.connection = self._context.wrap_socket(plain, server_side=True)

    def accepted(self) -> ssl.SSLSocket:
        self._thread.join(DEADLINE)
        assert self.connection is not None
        return self.connection

    def close(self) -> None:
        self._listening.close()
        if self.connection is not None:
            self.connection.close()


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust(tmp_path_factory.mktemp("trust"))


@contextmanager
def connected(trust: Trust) -> Iterator[tuple[Link, ssl.SSLSocket]]:
    central = Central(trust)
    link = Link(
        "localhost", central.port, tls.client_context(trust.ca, *trust.client()), silence=30
    )
    try:
        link.connect(DEADLINE)
        yield link, central.accepted()
    finally:
        link.close()
        central.close()


def record_of(message: messages.Message) -> logging.LogRecord:
    return logging.LogRecord("oplog", logging.INFO, "", 0, message, None, None)


def test_it_frames_msgpack_where_the_parent_pickles(trust: Trust) -> None:
    with connected(trust) as (link, central):
        link.emit(record_of(messages.Ping(7)))
        (body,) = frames.FrameReader(1_000).feed(central.recv(1_000))
        assert messages.unpack(body) == messages.Ping(7)


@pytest.mark.parametrize("host", ["localhost.", "LOCALHOST", "127.0.0.1"])
def test_a_host_is_the_same_with_a_dot_at_its_end(
    trust: Trust, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the name server the dot says that nothing is to be appended; a certificate has none."""
    looked_up = []
    resolve = socket.getaddrinfo

    def getaddrinfo(name: str, *rest: int) -> object:
        looked_up.append(name)
        return resolve("127.0.0.1", *rest)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    central = Central(trust)
    context = tls.client_context(trust.ca, *trust.client())
    link = Link(host, central.port, context, silence=30)
    try:
        link.connect(DEADLINE)
        assert central.accepted().version() == "TLSv1.3"
        assert looked_up == [host]
    finally:
        link.close()
        central.close()


@pytest.mark.parametrize("wrong", ["expired", "revoked", "of another's list"])
def test_a_central_that_is_not_to_be_trusted_is_a_refusal_and_no_crash(
    trust: Trust, tmp_path: Path, wrong: str
) -> None:
    """Also where OpenSSL has let it through, as its clock is milliseconds behind ours."""
    old = trust.server(made=NOW - YEAR, days=30)
    pair = old if wrong == "expired" else trust.server()
    crl = ""
    if wrong == "revoked":
        crl = str(trust.revocations([pair[0]]))
    elif wrong == "of another's list":
        crl = str(Trust(tmp_path / "other").revocations())
    central = Central(trust, pair)
    cert, key = trust.client()
    paths = Paths(str(trust.ca), str(cert), str(key), crl)
    roads = Roads("default", "localhost", central.port, lambda: paths, Settings())
    with closing(roads.new().link) as link:
        link.context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        with pytest.raises(WireError) as found:
            link.connect(DEADLINE)
    central.accepted()
    central.close()
    codes = {"expired": "tls-expired", "revoked": "auth-revoked"}
    assert found.value.code == codes.get(wrong, "crl-missing")
    assert found.value.class_ is Class.PERSON
    assert found.value.mend


def test_a_connection_that_is_refused_raises(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    context = tls.client_context(trust.ca, *trust.client())
    with pytest.raises(ConnectionRefusedError):
        Link("127.0.0.1", port, context, silence=30).connect(DEADLINE)


def test_sending_without_a_connection_raises(trust: Trust) -> None:
    link = Link("127.0.0.1", 9, tls.client_context(trust.ca, *trust.client()), silence=30)
    with pytest.raises(ConnectionError, match="not connected"):
        link.emit(record_of(messages.Ping(1)))
    with pytest.raises(ConnectionError, match="not connected"):
        link.receive()


def test_the_parent_would_have_said_nothing() -> None:
    """What the three tests above protect from: the same, with the parent itself."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    parent = SocketHandler("127.0.0.1", port)
    parent.emit(record_of(messages.Ping(1)))
    assert parent.sock is None


def send_for_a_while(link: Link) -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        link.emit(record_of(messages.Ping(1)))


def test_a_connection_that_broke_raises_at_the_next_send(trust: Trust) -> None:
    with connected(trust) as (link, central):
        central.close()
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe, as the kernel likes
            send_for_a_while(link)


def test_the_end_of_the_connection_is_seen(trust: Trust) -> None:
    with connected(trust) as (link, central):
        assert link.receive() is None
        central.shutdown(socket.SHUT_WR)
        select.select([link], [], [], DEADLINE)
        assert link.receive() == b""


def test_what_the_socket_does_not_take_waits_and_is_sent_later(trust: Trust) -> None:
    data = bytes(range(256)) * 40_000
    with connected(trust) as (link, central):
        link.send(data)
        assert link.unsent, "a socket buffer that takes 10 MB at once proves nothing here"
        arrived = bytearray()
        while len(arrived) < len(data):
            link.flush()
            arrived += central.recv(1 << 20)
        assert arrived == data
        assert link.unsent == 0


def test_a_silent_peer_breaks_the_connection_while_bytes_are_in_flight(trust: Trust) -> None:
    with connected(trust) as (link, _):
        assert link.sock is not None
        limit = link.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        assert limit == 30_000
