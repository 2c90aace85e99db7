"""What people are told when there is no connection at all."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import closing

import pytest

from sockstream import tls
from sockstream.exceptions import SockstreamError
from sockstream.tls import failures, words
from tests.unit.ends import failure, listening, told


def test_a_port_in_use() -> None:
    with listening() as listener:
        address = listener.getsockname()[:2]
        with closing(socket.socket()) as second:
            error = failure(lambda: second.bind(address))
    assert told(tls.explain(error, address[0], address[1], server=True)) == (
        "port-in-use",
        "Another program listens at 127.0.0.1:PORT already."
        " Stop it (is oplog_receive running twice?), or choose another port in --bind.",
    )


def test_an_address_that_is_not_ours() -> None:
    with closing(socket.socket()) as plain:
        error = failure(lambda: plain.bind(("192.0.2.1", 0)))
    assert told(tls.explain(error, "192.0.2.1", 9000, server=True)) == (
        "address-unavailable",
        "192.0.2.1:PORT is not an address of this machine."
        " Use in --bind one that it has, or 0.0.0.0 for all of them.",
    )


def test_nobody_listens() -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = failure(lambda: socket.create_connection(("127.0.0.1", port), 5))
    assert told(tls.explain(error, "127.0.0.1", port, server=False)) == (
        "connection-refused",
        "Nothing listens at 127.0.0.1:PORT."
        " Start oplog_receive there, or check the address of --to.",
    )


@pytest.mark.parametrize("host", ["central.invalid", "central..example.org"])
def test_a_host_that_nobody_knows(host: str) -> None:
    error = failure(lambda: socket.create_connection((host, 9000), 5))
    code, line = told(tls.explain(error, host, 9000, server=False))
    assert code == "host-unknown"
    assert line.startswith(f"The host of {host}:PORT is not known")


@pytest.mark.parametrize(
    ("number", "server", "code", "words"),
    [
        (errno.EHOSTUNREACH, False, "unreachable", "There is no way to [::1]:9000"),
        (errno.ENETUNREACH, False, "unreachable", "There is no way to [::1]:9000"),
        (errno.ETIMEDOUT, False, "timeout", "Central at [::1]:9000 did not answer in time"),
        (errno.EACCES, True, "forbidden", "This user may not listen at [::1]:9000"),
        (errno.EPERM, False, "forbidden", "This machine forbids a connection to [::1]:9000"),
        (errno.EADDRNOTAVAIL, False, "address-unavailable", "No connection to [::1]:9000"),
        (errno.EPIPE, False, "connection-lost", "Central at [::1]:9000 closed the connection"),
        (errno.EPIPE, True, "connection-lost", "The peer at [::1]:9000 closed the connection"),
        (errno.EMFILE, True, "too-many-files", "No more files or connections can be opened"),
        (errno.EIO, True, "network", "The connection with [::1]:9000 failed: Input/output error"),
    ],
)
def test_the_system_s_errors(number: int, server: bool, code: str, words: str) -> None:
    error = OSError(number, os.strerror(number))
    explained = tls.explain(error, "::1", 9000, server=server)
    assert explained.code == code
    assert explained.words.startswith(words)
    assert explained.mend


def test_what_is_explained_already_stays_as_it_is() -> None:
    error = SockstreamError("auth-revoked", "Revoked")
    assert tls.explain(error, "::1", 9000, server=True) is error


def test_asyncio_s_errors_without_a_number() -> None:
    for error in (ConnectionAbortedError("SSL handshake is taking too long"), EOFError()):
        assert tls.explain(error, "::1", 9000, server=True).code == "connection-lost"
    assert tls.explain(RuntimeError("odd"), "::1", 9000, server=True).code == "network"
    assert tls.explain(ssl.SSLError(1, "odd"), "::1", 9000, server=True).code == "tls-failed"


def test_every_code_has_words_with_a_mend() -> None:
    codes = {
        *failures._VERIFY_CODES.values(),
        *failures._REASONS.values(),
        *failures._ERRNOS.values(),
    }
    tables = (words.AT_SITE, words.AT_CENTRAL, words.AT_BOTH)
    assert codes <= {code for table in tables for code in table}
    heard = words.HEARD_AT_SITE.keys() | words.HEARD_AT_CENTRAL.keys()
    assert set(failures._ALERTS.values()) <= heard
    for table in (*tables, words.HEARD_AT_SITE, words.HEARD_AT_CENTRAL):
        for told_so in table.values():
            assert told_so.words.format(where="x", why="y")
            assert told_so.mend


def test_a_mend_names_our_tool_only_where_it_made_the_authority() -> None:
    for table in (words.AT_SITE, words.AT_CENTRAL, words.HEARD_AT_SITE, words.HEARD_AT_CENTRAL):
        for code in table:
            for heard in (False, True):
                for server in (False, True):
                    _, mend = words.words_for(code, server=server, heard=heard, tool=False)
                    assert mend
                    assert "sockstream certs" not in mend
    assert "sockstream certs client" in words.client(tool=True)
    assert "sockstream certs" not in words.client(tool=False) + words.server(tool=False)
    assert "sockstream certs" not in words.renewal("") + words.mistake("")
