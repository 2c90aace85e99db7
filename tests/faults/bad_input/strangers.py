"""Programs at the other end that are not ours."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.servers import HOST

PATIENCE = 10.0


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A program that gives whoever connects its `answer`, one after the other; HOST:PORT."""
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, answer))
        thread.start()
        try:
            yield f"{HOST}:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(2 * PATIENCE)


def _answer(listener: socket.socket, answer: Callable[[socket.socket], object]) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        # Whoever connected hangs up at any time.
        with accepted, suppress(OSError):
            accepted.settimeout(PATIENCE)
            answer(accepted)


def says(words: bytes) -> Callable[[socket.socket], object]:
    """Answers with these bytes."""

    def answer(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(words)
        _wait_for_end(connection)

    return answer


def says_nothing(connection: socket.socket) -> None:
    """Takes what it gets."""
    _wait_for_end(connection)


def hangs_up(connection: socket.socket) -> None:
    """Closes at once."""


def speaks_tls(context: ssl.SSLContext) -> Callable[[socket.socket], object]:
    """Shakes hands."""

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            _wait_for_end(secure)

    return answer


def call(port: int, say: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Connect to central, over TLS or not, say something; what it answers until it hangs up.

    Raises OSError.
    """
    with socket.create_connection((HOST, port), PATIENCE) as plain:
        if context is None:
            return _exchange(plain, say)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            return _exchange(secure, say)


def _exchange(connection: socket.socket, say: bytes) -> bytes:
    connection.sendall(say)
    return b"".join(iter(lambda: connection.recv(4096), b""))


def _wait_for_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass
