"""TLS over memory: bytes from the peer in, plain bytes out, and the other way round.

asyncio's own TLS layer keeps the reason of a failed handshake to itself, and closes before the
peer has read our last words; here both are ours to say.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress

_CHUNK = 1 << 16


class SecureChannel:
    """The server's end of one TLS connection, without a socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False

    def shake_hands(self, data: bytes) -> bool:
        """Go on with the handshake. Returns whether it is complete.

        Raises ssl.SSLError; what `data_to_send` then holds tells the peer why.
        """
        self._incoming.write(data)
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.established = True
        return True

    def receive(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes that `data` brings; b"" once the peer says that it is done.

        Raises ssl.SSLError.
        """
        self._incoming.write(data)
        try:
            while chunk := self.object.read(_CHUNK):
                yield chunk
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            pass
        yield b""

    def send(self, data: bytes) -> None:
        """Encrypt plain bytes for `data_to_send`. Raises ssl.SSLError."""
        if data:
            self.object.write(data)

    def say_goodbye(self) -> None:
        """Add TLS's own word for "nothing follows", so that the peer can tell an end from a cut."""
        # It wants the peer's word in return, or the handshake had failed: ours is said.
        with suppress(ssl.SSLError):
            self.object.unwrap()

    def data_to_send(self) -> bytes:
        """What is to go to the peer; drains it."""
        return self._outgoing.read()
