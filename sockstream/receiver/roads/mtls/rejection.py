"""The answer to a peer whose certificate names no site: its hello is refused, with the reason."""

from __future__ import annotations

import asyncio

from sockstream.exceptions import SockstreamError
from sockstream.wire.errors import CODES, Class, WireError
from sockstream.wire.limits import Limits
from sockstream.wire.receiving import HelloReceived, ReceivingSession

from .link import Channel


class Rejection:
    """Stands where a link would: it has no source, and nothing of the peer goes beyond it.

    A site expects the answer to its hello, so that is awaited, for as long as the connection's
    handshake may take. `handshake` is that time in seconds.
    """

    def __init__(self, channel: Channel, error: SockstreamError, handshake: float) -> None:
        self._channel = channel
        class_ = CODES.get(error.code, Class.PERSON)
        self._error = WireError(error.code, error.words, error.mend, class_=class_)
        self._session = ReceivingSession(Limits(handshake=handshake), channel.started)
        self._loop = asyncio.get_running_loop()

    def receive(self, data: bytes) -> None:
        """Plain bytes have arrived."""
        now = self._loop.time()
        events = self._session.receive(data, now)
        if any(isinstance(event, HelloReceived) for event in events):
            self._session.refuse(self._error, now)
        self._channel.send(self._session.data_to_send())
        if self._session.closed:
            self._channel.close()

    def receive_eof(self) -> None:
        """The peer will send nothing more."""
        self._channel.close()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._channel.close()
