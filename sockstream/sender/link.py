"""The link: a logging.handlers.SocketHandler over mutual TLS that frames msgpack.

The parent's contract is to drop what it cannot send: `send` swallows OSError, `emit` the rest, and
a refused connect is silent until the retry time. Nothing that must not be lost may depend on that:
here each of them raises. Window, acks and time belong to the session, not to the handler.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from logging.handlers import SocketHandler
from typing import Any

from sockstream import tls
from sockstream.wire import messages

_CHUNK = 256 * 1024


class Link(SocketHandler):
    """A connection to central. `connect` blocks; after it, nothing does."""

    sock: ssl.SSLSocket | None

    def __init__(
        self,
        host: str,
        port: int,
        context: tls.Context,
        silence: float,
        check: Callable[[ssl.SSLSocket], None] | None = None,
    ) -> None:
        """`silence`: seconds after which unacknowledged bytes break the connection.

        `check` raises if who is at the other end is not to be trusted.
        """
        super().__init__(host, port)
        self.context = context
        self.silence = silence
        self._check = check
        self._outbound = bytearray()

    def connect(self, timeout: float) -> None:
        """Connect and shake hands within `timeout` seconds for each.

        Raises OSError, and what `check` raises.
        """
        self.sock = self.makeSocket(timeout)
        if self._check is not None:
            self._check(self.sock)

    def makeSocket(self, timeout: float = 10) -> ssl.SSLSocket:
        """A connected TLS socket, not blocking any more. Raises OSError."""
        assert self.port is not None
        plain = socket.create_connection((self.host, self.port), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                limit = int(self.silence * 1000)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit)
            # A dot at the end is the name server's affair: no certificate has it.
            secure = self.context.wrap_socket(plain, server_hostname=self.host.removesuffix("."))
        except BaseException:
            plain.close()
            raise
        secure.setblocking(False)
        return secure

    def createSocket(self) -> None:
        """The parent would connect anew here, or say nothing. Raises ConnectionError."""
        raise ConnectionError("the link is not connected")

    def makePickle(self, record: logging.LogRecord) -> bytes:
        """The frame of a log record whose `msg` is a wire message."""
        return messages.pack(record.msg)  # type: ignore[arg-type]

    def emit(self, record: logging.LogRecord) -> None:
        """Send the wire message that `record.msg` is. Raises OSError."""
        self.send(self.makePickle(record))

    def handleError(self, record: logging.LogRecord) -> None:
        """The parent closes the socket and says nothing; here the error goes on."""
        raise  # noqa: PLE0704

    def send(self, s: Any) -> None:
        """Queue bytes and send as many as the socket takes. Raises OSError."""
        self._outbound += s
        self.flush()

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it. Raises OSError."""
        if self._outbound and self.sock is None:
            self.createSocket()
        while self._outbound and self.sock is not None:
            try:
                with memoryview(self._outbound) as view:
                    sent = self.sock.send(view[:_CHUNK])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            del self._outbound[:sent]

    @property
    def unsent(self) -> int:
        """How many bytes wait for the socket."""
        return len(self._outbound)

    def fileno(self) -> int:
        if self.sock is None:
            raise ConnectionError("the link is not connected")
        return self.sock.fileno()

    def receive(self) -> bytes | None:
        """What has arrived; b"" at the end of the connection, None if nothing is there now.

        Raises OSError.
        """
        if self.sock is None:
            raise ConnectionError("the link is not connected")
        try:
            return self.sock.recv(_CHUNK)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
