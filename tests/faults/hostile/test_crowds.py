"""Many at once, slow ones, and silent ones: each limit holds, and no site is kept out."""

from __future__ import annotations

import resource
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from sockstream.conf import Settings
from sockstream.wire.messages import Ping, Pong, pack
from tests.ends import wait_until
from tests.faults.hostile.ground import MIB, Ground, until_closed
from tests.integration.receiver.site import connected, slots

CROWD = 2_000


@contextmanager
def files_for(count: int) -> Iterator[None]:
    """This process may open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"this user may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def newcomer(ground: Ground) -> float:
    """A site connects and has a record applied; the seconds that it takes."""
    begun = time.monotonic()
    site = ground.site()
    site.oplog.add(slots(1))
    with connected(site):
        site.send_all()
    return time.monotonic() - begun


def test_two_thousand_that_say_nothing(ground: Ground) -> None:
    """HANDSHAKES of them are kept; the oldest give way, and who has a certificate gets in."""
    process = psutil.Process(ground.receiver.pid)
    most = Settings().HANDSHAKES
    with files_for(CROWD + 500), ExitStack() as crowd, ground.unharmed(160 * MIB):
        for _ in range(CROWD):
            crowd.enter_context(ground.dial())
        assert newcomer(ground) < 5
        assert process.num_fds() < most + 100
        ground.receiver.wait_for_line("Too many connections were waiting for their handshake")


def test_slow_handshakes(ground: Ground) -> None:
    """A byte now and then does not make HANDSHAKE_TIMEOUT longer, in TLS or behind it."""
    begun = time.monotonic()
    with ExitStack() as crowd, ground.unharmed(48 * MIB):
        in_tls = [crowd.enter_context(ground.dial()) for _ in range(100)]
        in_hello = [crowd.enter_context(ground.shake_hands()) for _ in range(20)]
        left: set[socket.socket] = {*in_tls, *in_hello}
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)
        frame = b"\x00\x00\x01\x00\xdc" + bytes(100)
        for byte_of_tls, byte_of_hello in zip(hello, frame, strict=False):
            for one in list(left):
                drip(one, byte_of_hello if one in in_hello else byte_of_tls, left)
            if not left:
                break
            time.sleep(0.1)
        assert not left
        assert time.monotonic() - begun < 5
        assert newcomer(ground) < 5


def drip(one: socket.socket, byte: int, left: set[socket.socket]) -> None:
    """Send one byte; take it out of `left` if central has ended it."""
    with suppress(ConnectionError, ssl.SSLError):
        one.sendall(bytes([byte]))
        if not select.select([one], [], [], 0)[0]:
            return
        one.settimeout(5)
        until_closed(one)
    left.discard(one)


def test_one_key_and_many_connections(ground: Ground) -> None:
    """STREAMS links of one source; a frame that never ends is all that each may have kept."""
    most, frame = Settings().STREAMS, Settings().MAX_FRAME
    with ground.unharmed(most * (frame + 4 * MIB) + 16 * MIB) as watch:
        sites = [ground.site(stream=f"stream-{number}") for number in range(most + 4)]
        refused = 0
        for site in sites:
            site.dial()
            site.run(lambda: bool(site.events), "an answer", fill=False)  # noqa: B023
            refused += site.error is not None and site.error.code == "too-many-streams"
        assert refused == 4
        for site in sites[:most]:
            site.sock.setblocking(True)
            site.sock.sendall((frame).to_bytes(4, "big"))
            for _ in range(15):
                site.sock.sendall(bytes(MIB))
        wait_until(lambda: watch.grown > most * frame / 2, "most of it was held")


def test_floods(ground: Ground) -> None:
    """Whether they ask for an answer or only for central's time."""
    with ground.unharmed(16 * MIB):
        for message in (Ping(1), Pong(1)):
            site = ground.site()
            site.connect()
            site._outbound = pack(message) * 100_000
            error = site.wait_until_closed()
            assert error is not None
            assert error.code == "too-many-pings"


def test_questions_whose_answers_nobody_reads(ground: Ground) -> None:
    with ground.unharmed(16 * MIB):
        secure = ground.shake_hands()
        site = ground.site()
        site.connect()
        with secure, suppress(ConnectionError, TimeoutError):
            secure.settimeout(1)
            for _ in range(200):
                secure.sendall(pack(Ping(1)) * 1000)
        site.sock.setblocking(True)
        site.sock.settimeout(2)
        with suppress(OSError):
            for _ in range(200):
                site.sock.sendall(pack(Ping(1)) * 10_000)
        site.close()
