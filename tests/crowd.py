"""Sites without a database, many in one process: the real session over real TLS on loopback."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Sequence

from sockstream.wire.digest import ZERO
from sockstream.wire.handshake import PROTOCOL
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Hello, Welcome
from sockstream.wire.records import Batch
from sockstream.wire.sending import Event, Failed, Refused, SendingSession, Welcomed

HOST = "127.0.0.1"


class Client:
    """One site: it sends the batches that it is given, which begin at record 1."""

    def __init__(self, port: int, context: ssl.SSLContext, number: int) -> None:
        self.batches: list[Batch] = []
        self._port = port
        self._context = context
        self._number = number
        self._sent = 0
        self._welcomed = False
        self._session: SendingSession
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    @property
    def acked(self) -> int:
        return self._session.acked

    async def connect(self) -> None:
        """Until central has welcomed it. Raises WireError if it refuses, OSError."""
        self._reader, self._writer = await asyncio.open_connection(
            HOST, self._port, ssl=self._context, server_hostname="localhost"
        )
        self._session = SendingSession(self._hello(), Limits(), time.monotonic())
        self._welcomed = False
        await self.run(lambda: self._welcomed)

    async def run(self, done: Callable[[], bool]) -> None:
        """Send, and answer central, until `done`. Raises WireError, OSError."""
        while True:
            self._fill()
            self._writer.write(self._session.data_to_send())
            if done():
                return
            wait = max(0.0, self._session.deadline - time.monotonic())
            try:
                data = await asyncio.wait_for(self._reader.read(1 << 16), wait)
            except TimeoutError:
                self._hear(self._session.tick(time.monotonic()))
                continue
            if not data:
                raise ConnectionResetError("central has ended the link")
            self._hear(self._session.receive(data, time.monotonic()))

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, Refused | Failed):
                raise event.error
            if isinstance(event, Welcomed):
                seq, digest = self._resumes_after(event.welcome)
                self._session.confirm(seq + 1, digest, time.monotonic())
                self._sent = sum(batch.last_seq <= seq for batch in self.batches)
                self._welcomed = True

    def _resumes_after(self, welcome: Welcome) -> tuple[int, bytes]:
        """The last record that central has, applied or staged, and the digest there."""
        staged = welcome.staged_seq, welcome.staged_digest
        if staged in ((batch.last_seq, batch.digest_after) for batch in self.batches):
            return staged
        return welcome.offset, welcome.digest

    def cut(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()

    def _fill(self) -> None:
        while self._welcomed and self._sent < len(self.batches):
            batch = self.batches[self._sent]
            if not self._session.can_send(batch.size):
                return
            self._session.send(batch, time.monotonic())
            self._sent += 1

    def _hello(self) -> Hello:
        last = self.batches[-1] if self.batches else None
        return Hello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            software="one of a crowd",
            features=[],
            stream="main",
            epoch=self._number.to_bytes(16),
            parent_epoch=b"",
            lowest_seq=1,
            highest_seq=last.last_seq if last else 0,
            acked_seq=0,
            last_session=0,
            instance=os.urandom(16),
            host_id=b"",
            frame_limit=16 << 20,
            codecs=[],
            schema=b"",
            digest=last.digest_after if last else ZERO,
        )
