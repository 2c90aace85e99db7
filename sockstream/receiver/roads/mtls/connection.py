"""One TCP connection with TLS on it: bytes, deadlines and back-pressure, but no messages."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from sockstream import tls
from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.tls.papers import Papers

from .admission import Admission
from .link import Link
from .listening import host_port
from .refusals import Refusals
from .rejection import Rejection
from .secure import SecureChannel

_LINGER = 2.0
_UNSENT = 256 * 1024


class Connection(asyncio.Protocol):
    """Shakes hands, then carries plain bytes between the socket and a Link.

    While the peer does not take what we write, nothing of it is read: so it cannot make us answer
    without end. When closing, our last words are sent, and what still comes in is thrown away,
    because closing a socket with unread bytes would break the connection before they are heard.
    """

    def __init__(
        self,
        papers: Papers,
        settings: Settings,
        admission: Admission[Connection],
        refusals: Refusals,
        make_link: Callable[[Connection, tls.Peer], Link],
    ) -> None:
        self.host = ""
        self.port = 0
        self.started = 0.0
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._settings = settings
        self._admission = admission
        self._refusals = refusals
        self._make_link = make_link
        self._context = papers.context()
        # Read after the context, which may have read the files anew.
        self.own_not_after = papers.own.not_after
        self._tls = SecureChannel(self._context)
        self._link: Link | Rejection | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._closing = False
        self._refused = False

    @property
    def peer(self) -> str:
        """The other end's address, for people."""
        return host_port(self.host, self.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.started = self._loop.time()
        address = transport.get_extra_info("peername") or ("?", 0)
        self.host, self.port = str(address[0]), int(address[1])
        if not self._is_admitted():
            self._refused = True
            self._transport.abort()
            return
        self._set_options(transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(_UNSENT)
        timeout = self._settings.HANDSHAKE_TIMEOUT
        self._deadline = self._loop.call_later(timeout, self._too_slow)

    def _is_admitted(self) -> bool:
        """Whether there is room for it; an older one may have to give way."""
        try:
            oldest = self._admission.enter(self)
        except SockstreamError as error:
            self.refused(error)
            return False
        if oldest is not None:
            oldest.give_way()
        return True

    def _set_options(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            silence = round(3_000 * self._settings.HEARTBEAT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            if self._link is None:
                self._shake_hands(data)
                data = b""
            if self._link is not None and not self._closing:
                self._receive(self._link, data)
        except ssl.SSLError as error:
            self._fail(error)

    def _shake_hands(self, data: bytes) -> None:
        done = self._tls.shake_hands(data)
        self._pass_on()
        if not done:
            return
        try:
            peer = tls.peer_identity(self._tls.object)
        except SockstreamError as error:
            self._refused = True
            self.refused(error)
            self._link = Rejection(self, error, self._settings.HANDSHAKE_TIMEOUT)
            return
        self._cancel_deadline()
        self._link = self._make_link(self, peer)

    def _receive(self, link: Link | Rejection, data: bytes) -> None:
        chunks = list(self._tls.receive(data))
        if plain := b"".join(chunks):
            link.receive(plain)
        if chunks and not chunks[-1]:
            link.receive_eof()

    def eof_received(self) -> None:
        """The transport closes itself after this."""
        if self._closing:
            return
        if self._link is not None:
            self._link.receive_eof()
        else:
            self._fail(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed during the TLS handshake"))

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._cancel_deadline()
        if self._link is not None:
            self._link.lost(error)
        elif error is not None and not self._refused:
            self.refused(self._explain(error))
        self._admission.forget(self)
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def met(self) -> None:
        """The peer has said hello: no newer connection takes its place."""
        self._admission.know(self)

    def refused(self, error: SockstreamError) -> None:
        """Log why the peer is sent away."""
        self._refusals.note(self.host, self.peer, error, self._loop.time())

    def send(self, data: bytes) -> None:
        """Send plain bytes to the peer."""
        if data and not self._closing:
            self._tls.send(data)
            self._pass_on()

    def close(self) -> None:
        """Send what is queued, say that nothing follows, and go when the peer has heard it."""
        if self._closing:
            return
        self._closing = True
        self._cancel_deadline()
        self._tls.say_goodbye()
        self._pass_on()
        with suppress(OSError):
            self._transport.write_eof()
        self._deadline = self._loop.call_later(_LINGER, self._transport.abort)
        self._transport.resume_reading()

    def abort(self) -> None:
        """Go at once."""
        self._closing = True
        self._transport.abort()

    def give_way(self) -> None:
        """Go at once, for a newer connection."""
        self._refused = True
        words = "Too many connections were waiting for their handshake, and it was the oldest"
        mend = 'If it was a site, it comes back by itself; else raise SOCKSTREAM["HANDSHAKES"]'
        self.refused(SockstreamError("too-many-handshakes", words, mend))
        self.abort()

    def _pass_on(self) -> None:
        if data := self._tls.data_to_send():
            self._transport.write(data)

    def _too_slow(self) -> None:
        if self._refused:
            self.close()
        else:
            self._refuse(self._explain(TimeoutError()))

    def _fail(self, error: ssl.SSLError) -> None:
        if self._link is None:
            self._refuse(self._explain(error))
        else:
            self._link.lost(error)
            self.close()

    def _refuse(self, error: SockstreamError) -> None:
        self._refused = True
        self.refused(error)
        self.close()

    def _explain(self, error: Exception) -> SockstreamError:
        tool = self._context.is_by_tool
        return tls.explain(error, self.host, self.port, server=True, tool=tool)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
