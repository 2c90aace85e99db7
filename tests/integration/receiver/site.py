"""A small site: an oplog in memory, and the real session over a real TLS socket."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from sockstream.wire import records
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import WireError
from sockstream.wire.handshake import PROTOCOL
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Hello, Welcome
from sockstream.wire.records import Batch, BatchBuilder, Layout
from sockstream.wire.sending import (
    Acked,
    Event,
    Failed,
    PeerClosing,
    Progressed,
    Refused,
    SendingSession,
    Welcomed,
)

SLOT = Layout("zoo.slot", ("id",), ("position", "name"))
PATIENCE = 20.0
_CHUNK = 1 << 16

Record = tuple[int, Layout, list[Any]]


def slot(position: int | None, name: str = "", key: uuid.UUID | None = None) -> Record:
    """A first save of a zoo.Slot."""
    return records.INSERT, SLOT, [(key or uuid.uuid4()).bytes, position, name]


def slots(count: int, size: int = 0) -> list[Record]:
    """So many new slots, each with a name of `size` characters."""
    return [slot(None, "x" * size) for _ in range(count)]


class Oplog:
    """Batches with consecutive numbers."""

    def __init__(self) -> None:
        self.epoch = os.urandom(16)
        self.batches: list[Batch] = []

    @property
    def seq(self) -> int:
        return self.batches[-1].last_seq if self.batches else 0

    @property
    def digest(self) -> bytes:
        return self.batches[-1].digest_after if self.batches else ZERO

    def add(self, *groups: Sequence[Record], goes_on: bool = False) -> Batch:
        """Append a batch of these groups; the last one `goes_on` in the next batch."""
        builder = BatchBuilder(self.seq + 1, self.digest)
        for number, group in enumerate(groups, 1):
            for op, layout, values in group:
                builder.add(op, layout, values)
            if number < len(groups) or not goes_on:
                builder.end_group()
        self.batches.append(builder.build(open=goes_on))
        return self.batches[-1]

    def digest_at(self, seq: int) -> bytes | None:
        if seq == 0:
            return ZERO
        found = (records.digest_at(batch, seq) for batch in self.batches if batch.last_seq >= seq)
        return next(found, None)

    def after(self, seq: int) -> Iterator[Batch]:
        return (batch for batch in self.batches if batch.last_seq > seq)


class Site:
    """Sends its oplog to central. `events` is what the session said since the connection.

    `resumes`: it goes on after what central has staged, as older versions do not.
    """

    def __init__(
        self,
        address: tuple[str, int],
        context: ssl.SSLContext,
        oplog: Oplog | None = None,
        *,
        stream: str = "main",
        limits: Limits | None = None,
        resumes: bool = True,
    ) -> None:
        self.oplog = oplog or Oplog()
        self.stream = stream
        self.resumes = resumes
        self.instance = os.urandom(16)
        self.events: list[Event] = []
        self.ended = False
        self.session_number = 0
        self._address = address
        self._context = context
        self._limits = limits or Limits(heartbeat=0.5)
        self._outbound = b""
        self.sock: ssl.SSLSocket
        self._end = ExitStack()

    def dial(self, **changes: Any) -> None:
        """Shake hands and say hello, with `changes` to it."""
        self.close()
        plain = socket.create_connection(self._address, PATIENCE)
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname="localhost")
        finally:
            # Wrapped, it is detached; this closes it if the handshake failed.
            plain.close()
        self._end.callback(self.sock.close)
        self.sock.setblocking(False)
        self.events, self.ended, self._outbound = [], False, b""
        hello = replace(self._hello(), **changes)
        self.session = SendingSession(hello, self._limits, time.monotonic())

    def connect(self, **changes: Any) -> Welcome:
        """Dial, be welcomed, confirm. Raises WireError if central refuses."""
        self.dial(**changes)
        welcome: Welcome = self.wait_for(Welcomed).welcome
        last = max(welcome.offset, welcome.staged_seq) if self.resumes else welcome.offset
        digest = self.oplog.digest_at(last)
        assert digest is not None
        self.session.confirm(last + 1, digest, time.monotonic())
        self.session_number = welcome.session
        self.pump()
        return welcome

    def _hello(self) -> Hello:
        return Hello(
            protocol_min=PROTOCOL,
            protocol_max=PROTOCOL,
            software="a test",
            features=[],
            stream=self.stream,
            epoch=self.oplog.epoch,
            parent_epoch=b"",
            lowest_seq=1,
            highest_seq=self.oplog.seq,
            acked_seq=0,
            last_session=self.session_number,
            instance=self.instance,
            host_id=b"",
            frame_limit=16 << 20,
            codecs=["zlib"],
            schema=b"",
            digest=self.oplog.digest,
        )

    @property
    def acked(self) -> int:
        return self.session.acked

    def send_all(self, within: float = PATIENCE) -> None:
        """Send what the oplog holds, and wait until it is acked."""
        self.run(lambda: self.acked == self.oplog.seq, "all acked", within)

    def wait_for(self, kind: type[Any], within: float = PATIENCE) -> Any:
        """Wait for an event of this kind. Raises the WireError that central sent instead."""
        self.run(lambda: self.ended or self._seen(kind), kind.__name__, within, fill=False)
        for event in self.events:
            if isinstance(event, kind):
                return event
        raise self.error or AssertionError(f"the connection ended without {kind.__name__}")

    def _seen(self, kind: type[Any]) -> bool:
        return any(isinstance(event, (kind, Refused, Failed)) for event in self.events)

    @property
    def error(self) -> WireError | None:
        """What central refused or failed with."""
        found = (e.error for e in self.events if isinstance(e, Refused | Failed))
        return next(found, None)

    def wait_until_closed(self, within: float = PATIENCE) -> WireError | None:
        """Wait for the connection's end; the error that came before it."""
        self.run(lambda: self.ended, "the end", within, fill=False)
        self.close()
        return self.error

    def run(
        self, done: Callable[[], bool], what: str, within: float = PATIENCE, *, fill: bool = True
    ) -> None:
        """Send and receive until `done`. Raises AssertionError when the time is over."""
        begun = time.monotonic()
        while not done():
            left = begun + within - time.monotonic()
            assert left > 0, f"after {within} s not: {what}; {self.events[-5:]}"
            assert not self.ended or not fill, f"ended before: {what}; {self.error}"
            if fill:
                self.fill()
            self.pump(min(left, 0.1))

    def fill(self) -> None:
        """Hand the session what the window allows."""
        for batch in self.oplog.after(self.session.sent_seq):
            if not self.session.can_send(batch.size):
                break
            self.session.send(batch, time.monotonic())

    def pump(self, timeout: float = 0.0) -> None:
        """Send what there is, and take what comes within `timeout` seconds."""
        now = time.monotonic()
        self.events += self.session.tick(now)
        self._outbound += self.session.data_to_send()
        self._write()
        if not self.sock.pending():
            waiting = select.poll()
            waiting.register(self.sock, select.POLLIN | (select.POLLOUT if self._outbound else 0))
            waiting.poll(1000 * timeout)
        self._read()

    def _write(self) -> None:
        while self._outbound and not self.ended:
            try:
                sent = self.sock.send(self._outbound[:_CHUNK])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError:
                self._outbound = b""
                return
            self._outbound = self._outbound[sent:]

    def _read(self) -> None:
        while not self.ended:
            try:
                data = self.sock.recv(_CHUNK)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError:
                data = b""
            if data:
                self.events += self.session.receive(data, time.monotonic())
            else:
                self.events += self.session.receive_eof(time.monotonic())
                self.ended = True

    def close(self) -> None:
        """Cut the connection, if there is one."""
        self._end.close()

    def said(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


@contextmanager
def connected(site: Site, **changes: Any) -> Iterator[Site]:
    """The site, connected; cut at the end."""
    site.connect(**changes)
    try:
        yield site
    finally:
        site.close()


__all__ = ["Acked", "Oplog", "PeerClosing", "Progressed", "Site", "connected", "slot", "slots"]
