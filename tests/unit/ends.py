"""Both ends of a TLS connection on loopback, and peers that are neither."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sockstream import tls
from sockstream.exceptions import SockstreamError
from tests.unit.trust import Paths, Trust

Found = tls.Peer | SockstreamError
PATIENCE = 5.0
"""Seconds that each end waits for the other."""


@dataclass
class Meeting:
    """One connection between central and a site. `host` is how the site calls central."""

    central: ssl.SSLContext
    site: ssl.SSLContext
    host: str = "127.0.0.1"
    crl: Path | None = None
    ca: Path = Path("nowhere/ca.crt")

    def held(self) -> tuple[Found, Found]:
        """What central finds out about the site, and the site about central."""
        with listening() as listener, ThreadPoolExecutor(1) as thread:
            central = thread.submit(self._central, listener)
            site = self._site(listener.getsockname()[1])
            return central.result(10), site

    def _central(self, listener: socket.socket) -> Found:
        accepted, address = listener.accept()
        accepted.settimeout(PATIENCE)
        try:
            with self.central.wrap_socket(accepted, server_side=True) as connection:
                peer = tls.peer_identity(connection)
                tls.check_revoked(peer, self.crl, self.ca)
                connection.sendall(b"x")
                assert connection.recv(1) == b"y"
                return peer
        except (OSError, SockstreamError) as error:
            tool = _is_by_tool(self.central)
            return tls.explain(error, address[0], address[1], server=True, tool=tool)

    def _site(self, port: int) -> Found:
        try:
            with connected(self.site, port, self.host) as connection:
                assert connection.recv(1) == b"x"
                connection.sendall(b"y")
                return tls.peer_identity(connection)
        except AssertionError:
            return tls.explain(EOFError(), self.host, port, server=False)
        except (OSError, SockstreamError) as error:
            tool = _is_by_tool(self.site)
            return tls.explain(error, self.host, port, server=False, tool=tool)


def _is_by_tool(context: ssl.SSLContext) -> bool:
    return not isinstance(context, tls.Context) or context.is_by_tool


@contextmanager
def listening() -> Iterator[socket.socket]:
    """A listening socket on a free port of loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def connected(context: ssl.SSLContext, port: int, host: str = "127.0.0.1") -> ssl.SSLSocket:
    """A TLS connection to `port`. Raises OSError."""
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


def central(trust: Trust, pair: Paths | None = None) -> ssl.SSLContext:
    """Central's context."""
    return tls.server_context(trust.ca, *(pair or trust.server()))


def site(trust: Trust, pair: Paths | None = None) -> ssl.SSLContext:
    """A site's context."""
    return tls.client_context(trust.ca, *(pair or trust.client()))


def without_checks(protocol: int, trust: Trust, pair: Paths | None) -> ssl.SSLContext:
    """The context of a peer that does not look at its own certificate, as ours do."""
    context = ssl.SSLContext(protocol)
    context.load_verify_locations(trust.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


def told(found: Found) -> tuple[str, str]:
    """Code and line of an error, the port taken out."""
    assert isinstance(found, SockstreamError), found
    line = str(found)
    assert "\n" not in line
    assert found.mend
    return found.code, re.sub(r":\d+", ":PORT", line)


def failure(call: Callable[[], object]) -> Exception:
    """What `call` raises when the network fails it."""
    try:
        call()
    except (OSError, UnicodeError) as error:
        return error
    raise AssertionError("it worked")


def what_central_sees(
    context: ssl.SSLContext, peer: Callable[[socket.socket], object], patience: float = PATIENCE
) -> SockstreamError:
    """How central explains the end of a handshake with a peer that is no TLS client."""

    def connect(port: int) -> None:
        # Central hangs up at any time.
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            peer(plain)

    with listening() as listener, ThreadPoolExecutor(1) as thread:
        done = thread.submit(connect, listener.getsockname()[1])
        accepted, address = listener.accept()
        accepted.settimeout(patience)
        error = failure(lambda: context.wrap_socket(accepted, server_side=True))
        done.result(10)
        return tls.explain(error, address[0], address[1], server=True)


def what_the_site_sees(context: ssl.SSLContext, answer: bytes | None) -> SockstreamError:
    """How a site explains a port that is not central's: it answers so, or (None) not at all."""

    def speak() -> None:
        with accepted:
            accepted.recv(10_000)
            if answer is None:
                accepted.recv(1)
            else:
                accepted.sendall(answer)

    with listening() as listener, ThreadPoolExecutor(1) as thread:
        port = listener.getsockname()[1]
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        accepted, _ = listener.accept()
        accepted.settimeout(PATIENCE)
        plain.settimeout(PATIENCE if answer is not None else 0.2)
        spoken = thread.submit(speak)
        error = failure(lambda: context.wrap_socket(plain, server_hostname="127.0.0.1"))
        spoken.result(10)
        return tls.explain(error, "127.0.0.1", port, server=False)
