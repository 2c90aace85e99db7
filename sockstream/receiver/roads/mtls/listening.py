"""The sockets that central listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sockstream import tls

_BACKLOG = 1_024
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@contextmanager
def listen(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets that listen on every address of `host` on one port; "" and "::" are all of them.

    Port 0 takes a free one. Raises SockstreamError.
    """
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        missing: OSError | None = None
        for family, address in _addresses(host, port):
            taken = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(opened.enter_context(_listen(family, address, taken)))
            except OSError as error:
                missing = error
                if error.errno not in _NOT_HERE:
                    break
        if missing is not None and (not sockets or missing.errno not in _NOT_HERE):
            raise tls.explain(missing, host, port, server=True) from missing
        yield sockets


@contextmanager
def listen_many(host: str, port: int, count: int) -> Iterator[list[list[socket.socket]]]:
    """What `listen` gives, `count` times on the same port: the kernel deals connections out evenly.

    Raises SockstreamError, also if others listen there in the same way.
    """
    with ExitStack() as opened:
        with listen(host, port) as alone:
            addresses = [(sock.family, *sock.getsockname()[:2]) for sock in alone]
        try:
            several = [
                [opened.enter_context(_listen(*each, shared=True)) for each in addresses]
                for _ in range(count)
            ]
        except OSError as error:
            raise tls.explain(error, host, port, server=True) from error
        yield several


def shown(sockets: Sequence[socket.socket]) -> str:
    """The addresses that they listen on, for people."""
    return ", ".join(dict.fromkeys(host_port(*sock.getsockname()[:2]) for sock in sockets))


def host_port(host: str, port: int) -> str:
    """HOST:PORT, or [HOST]:PORT for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    if _is_all(host):
        host = ""
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise tls.explain(error, host, port, server=True) from error
    return list(dict.fromkeys((entry[0], str(entry[4][0])) for entry in found))


def _is_all(host: str) -> bool:
    """Whether it is `::`, which stands for every address, of IPv4 too, to whoever binds it."""
    try:
        return ipaddress.IPv6Address(host) == ipaddress.IPv6Address("::")
    except ValueError:
        return False


def _listen(
    family: socket.AddressFamily, address: str, port: int, *, shared: bool = False
) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening
