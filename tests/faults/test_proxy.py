"""The proxy does what its verbs say, no less and no more."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.ends import wait_until
from tests.faults.flows import Direction
from tests.faults.proxy import Proxy
from tests.servers import HOST

UP, DOWN = Direction.UP, Direction.DOWN
SOON = 0.2
WITHIN = 5.0


class Server:
    """Takes connections; `accepted` holds them in the order in which they came."""

    def __init__(self) -> None:
        self._listener = socket.create_server((HOST, 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.accepted: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def take(self, number: int = 0) -> socket.socket:
        """The connection of that number, once it is there."""
        wait_until(lambda: len(self.accepted) > number, "a connection", WITHIN)
        return self.accepted[number]

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for sock in (self._listener, *self.accepted):
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(WITHIN)
            self.accepted.append(sock)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.address, seed=1) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with dialled(proxy) as sock:
        yield sock


def dialled(proxy: Proxy) -> socket.socket:
    """A connection to the proxy."""
    host, _, port = proxy.address.rpartition(":")
    return socket.create_connection((host, int(port)), WITHIN)


def read(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes, or fewer at the end of the stream."""
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def is_silent(sock: socket.socket, seconds: float = SOON) -> bool:
    """Whether nothing comes, not even an end."""
    sock.settimeout(seconds)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(WITHIN)
    return False


def test_bytes_pass_both_ways(server: Server, client: socket.socket) -> None:
    data = random.Random(2).randbytes(3_000_000)
    sender = threading.Thread(target=client.sendall, args=[data])
    sender.start()
    assert read(server.take(), len(data)) == data
    sender.join()
    server.take().sendall(b"answer")
    assert read(client, 6) == b"answer"


def test_one_end_of_the_stream_leaves_the_other(server: Server, client: socket.socket) -> None:
    client.sendall(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert read(server.take(), 100) == b"last words"
    server.take().sendall(b"heard")
    server.take().close()
    assert read(client, 100) == b"heard"


def test_a_reset_is_passed_on(server: Server, client: socket.socket, proxy: Proxy) -> None:
    client.sendall(b"x")
    read(server.take(), 1)
    proxy_sees_reset(client)
    with pytest.raises(ConnectionResetError):
        server.take().recv(1)
    wait_until(lambda: proxy.connections == 0, "forgotten", WITHIN)


def proxy_sees_reset(client: socket.socket) -> None:
    """Close with RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def test_cut_by_reset(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    assert proxy.cut(reset=True) == 1
    for sock in (client, server.take()):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_cut_by_fin(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    proxy.cut(reset=False)
    assert client.recv(1) == b""
    assert server.take().recv(1) == b""
    client.close()
    server.take().close()
    wait_until(lambda: proxy.connections == 0, "forgotten", WITHIN)


@pytest.mark.parametrize("size", [1, 4_095, 100_000])
def test_cut_after_exactly(size: int, server: Server, client: socket.socket, proxy: Proxy) -> None:
    cut = proxy.cut_after(size, UP)
    threading.Thread(target=client.sendall, args=[bytes(200_000)], daemon=True).start()
    assert len(read(server.take(), 200_000)) == size
    assert cut.wait(WITHIN)
    with dialled(proxy) as another:
        another.sendall(b"again")
        assert read(server.take(1), 5) == b"again", "it was for one connection"


def test_refusing(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    address = proxy.address
    with proxy.refusing():
        with pytest.raises(ConnectionRefusedError):
            dialled(proxy)
        client.sendall(b"still there")
        assert read(server.take(), 11) == b"still there"
    assert proxy.address == address
    with dialled(proxy) as another:
        another.sendall(b"back")
        assert read(server.take(1), 4) == b"back"


def test_stalled_one_way(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    with proxy.stalled(UP):
        client.sendall(b"late")
        assert is_silent(server.take())
        server.take().sendall(b"on time")
        assert read(client, 7) == b"on time"
    assert read(server.take(), 4) == b"late", "and nothing is lost"


def test_a_stall_fills_the_window(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    client.settimeout(SOON)
    with proxy.stalled(), pytest.raises(TimeoutError):
        client.sendall(bytes(50_000_000))


def test_half_open(server: Server, client: socket.socket, proxy: Proxy) -> None:
    """Bytes are taken without an error, and neither end hears of the other's end."""
    server.take()
    with proxy.half_open():
        client.sendall(bytes(5_000_000))
        server.take().sendall(b"nobody hears this")
        assert is_silent(client)
    assert is_silent(server.take()), "what was lost stays lost"
    client.close()
    assert is_silent(server.take())
    assert proxy.connections == 1
    server.take().close()
    wait_until(lambda: proxy.connections == 0, "forgotten", WITHIN)
    assert proxy.counts["bytes swallowed"] >= 5_000_000


def test_half_open_one_way(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    with proxy.half_open(DOWN):
        server.take().sendall(b"lost")
        client.sendall(b"found")
        assert read(server.take(), 5) == b"found"
        assert is_silent(client)
    client.close()
    assert server.take().recv(1) == b"", "this way the line is alive"


def test_new_connections_on_a_dead_line(server: Server, proxy: Proxy) -> None:
    with proxy.half_open(), dialled(proxy) as sock:
        sock.sendall(b"hello?")
        assert is_silent(server.take())


def test_slow(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    with proxy.slow(50_000, 0.1):
        begun = time.monotonic()
        client.sendall(bytes(25_000))
        read(server.take(), 1)
        assert time.monotonic() - begun >= 0.1
        read(server.take(), 24_999)
        assert 0.4 < time.monotonic() - begun < WITHIN


@pytest.mark.parametrize("ragged", [False, True])
def test_split(ragged: bool, server: Server, client: socket.socket, proxy: Proxy) -> None:
    data = random.Random(3).randbytes(10_000)
    server.take()
    with proxy.split(40 if ragged else 1, UP, ragged=ragged):
        client.sendall(data)
        first = server.take().recv(100_000)
        assert first
        assert first + read(server.take(), len(data) - len(first)) == data
    assert len(first) < len(data)


def test_coalesced(server: Server, client: socket.socket, proxy: Proxy) -> None:
    server.take()
    with proxy.coalesced(0.5, UP):
        wait_until(lambda: time.monotonic() % 0.5 < 0.1, "a beat has just begun")
        for _ in range(5):
            client.sendall(b"x")
            time.sleep(0.01)
        assert is_silent(server.take(), 0.1)
        wait_until(lambda: len(server.take().recv(5, socket.MSG_PEEK)) == 5, "all at once", WITHIN)


def test_flip_bit(server: Server, client: socket.socket, proxy: Proxy) -> None:
    data = bytes(1_000)
    server.take()
    proxy.flip_bit(UP)
    client.sendall(data)
    changed = read(server.take(), len(data))
    assert sum(byte.bit_count() for byte in changed) == 1
    client.sendall(data)
    assert read(server.take(), len(data)) == data, "it was for one chunk"


def test_duplicated(server: Server, proxy: Proxy) -> None:
    with proxy.duplicated(), dialled(proxy) as sock:
        sock.sendall(b"twice")
        assert read(server.take(0), 5) == read(server.take(1), 5) == b"twice"
        server.take(1).sendall(b"to nobody")
        server.take(0).sendall(b"to the client")
        assert read(sock, 13) == b"to the client"
        assert is_silent(sock)
        server.take(1).close()
        wait_until(lambda: proxy.counts["twins refused"] == 1, "the twin is gone", WITHIN)
        sock.sendall(b"more")
        assert read(server.take(0), 4) == b"more"


def test_route(server: Server, client: socket.socket, proxy: Proxy) -> None:
    other = Server()
    try:
        server.take()
        proxy.route(other.address)
        client.sendall(b"to the first")
        assert read(server.take(), 12) == b"to the first"
        with dialled(proxy) as sock:
            sock.sendall(b"to the other")
            assert read(other.take(), 12) == b"to the other"
    finally:
        other.close()


def test_nobody_behind_it(server: Server, proxy: Proxy) -> None:
    """It has taken the connection already, so it can only end it."""
    with socket.create_server((HOST, 0)) as free:
        nobody = free.getsockname()
    proxy.route(nobody)
    with dialled(proxy) as sock:
        assert sock.recv(1) == b""
