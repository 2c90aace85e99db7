"""Peers that are not what they should be, and addresses where nobody is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest

from tests.faults.bad_input import strangers
from tests.faults.bad_input.ends import CENTRAL, Receiver, World, refusal_of
from tests.faults.bad_input.papers import Papers
from tests.servers import HOST, free_port

HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def test_plain_tcp_at_central_s_port(mended: World) -> None:
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\5hello"):
        strangers.call(mended.receiver.port, words)
    # Said once: what came within the minute is counted.
    assert "does not speak TLS. This port is for oplog_send alone" in mended.told()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (strangers.says(HTTP), "does not speak TLS. Check host and port of --to"),
        (strangers.hangs_up, "closed the connection. If it goes on, read the log"),
        (strangers.says_nothing, "did not answer in time. Check the address of --to"),
    ],
    ids=["http", "hangs up", "silent"],
)
def test_plain_tcp_where_central_should_be(
    world: World, answer: Callable[[socket.socket], object], words: str
) -> None:
    with strangers.listening(answer) as address:
        said = refusal_of(world.sender("--to", address, settings={"CONNECT_TIMEOUT": 1.0}))
    assert address in said
    assert words in said


def test_a_site_that_speaks_tls_1_2(world: World, papers: Papers) -> None:
    context = papers.context(ssl.PROTOCOL_TLS_CLIENT, papers.of("site"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
        strangers.call(world.receiver.port, b"x", context)
    assert "does not speak TLS 1.3. This port is for oplog_send alone" in world.told()


def test_a_central_that_speaks_tls_1_2(world: World, papers: Papers) -> None:
    context = papers.context(ssl.PROTOCOL_TLS_SERVER, papers.of("localhost"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with strangers.listening(strangers.speaks_tls(context)) as address:
        said = refusal_of(world.sender("--to", address))
    assert said.startswith(f"What listens at {address} does not speak TLS 1.3. Check host and port")


def test_nobody_listens_at_central(world: World) -> None:
    address = f"{HOST}:{free_port()}"
    said = refusal_of(world.sender("--to", address))
    assert said == (
        f"Nothing listens at {address}. Start oplog_receive there, or check the address of --to."
    )


def test_central_s_address_does_not_resolve(world: World) -> None:
    said = refusal_of(world.sender("--to", "central.invalid:9000"))
    assert said.startswith("The host of central.invalid:9000 is not known: ")
    assert said.endswith("Check the spelling of --to, and the name server of this machine.")


def test_port_in_use(world: World) -> None:
    said = refusal_of(Receiver(CENTRAL, world.certificates, "--bind", world.address))
    assert said.startswith(f"Another program listens at {world.address} already. Stop it")


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("localhost", "--bind localhost: not an address. Write HOST:PORT"),
        ("localhost:70000", "--bind localhost:70000: not an address. Write HOST:PORT"),
        ("192.0.2.1:0", "192.0.2.1:0 is not an address of this machine. Use in --bind"),
        ("central.invalid:0", "The host of central.invalid:0 is not known"),
        ("a..b:0", "The host of a..b:0 is not known"),
    ],
)
def test_bad_bind(world: World, bind: str, words: str) -> None:
    assert refusal_of(Receiver(CENTRAL, world.certificates, "--bind", bind)).startswith(words)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("localhost", "--to localhost: not an address. Write HOST:PORT"),
        ("localhost:70000", "--to localhost:70000: not an address. Write HOST:PORT"),
        (":9000", "--to :9000: no host or no port. Write HOST:PORT"),
        ("localhost:0", "--to localhost:0: no host or no port. Write HOST:PORT"),
        ("a..b:9000", "The host of a..b:9000 is not known"),
    ],
)
def test_bad_to(world: World, to: str, words: str) -> None:
    assert refusal_of(world.sender("--to", to)).startswith(words)
