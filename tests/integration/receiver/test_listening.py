"""The addresses that central listens on."""

from __future__ import annotations

import socket

import pytest

from sockstream.receiver.roads.mtls.listening import listen, listen_many, shown

V4, V6 = "127.0.0.1", "::1"


def has_ipv6() -> bool:
    try:
        socket.create_server((V6, 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def reached(port: int) -> list[str]:
    """The addresses of this machine at which somebody answers on `port`."""
    found = []
    for host in (V4, V6):
        try:
            socket.create_connection((host, port), 5).close()
        except OSError:
            continue
        found.append(host)
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", [V4, V6]),
        ("::", [V4, V6]),
        ("0:0:0:0:0:0:0:0", [V4, V6]),
        ("0.0.0.0", [V4]),
        (V4, [V4]),
        (V6, [V6]),
    ],
)
def test_who_reaches_an_address(host: str, expected: list[str]) -> None:
    with listen(host, 0) as sockets:
        assert reached(sockets[0].getsockname()[1]) == expected
    with listen_many(host, 0, 2) as several:
        assert reached(several[0][0].getsockname()[1]) == expected


@needs_ipv6
def test_all_of_them_are_said() -> None:
    with listen("::", 0) as sockets:
        port = sockets[0].getsockname()[1]
        assert sorted(shown(sockets).split(", ")) == [f"0.0.0.0:{port}", f"[::]:{port}"]


def test_a_machine_without_ipv6_listens_on_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def only_ipv4(family: int, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", only_ipv4)
    with listen("::", 0) as sockets:
        assert shown(sockets).startswith("0.0.0.0:")
