"""A link without sockets: the site's real road and central's real session, wired back to back.

The bytes between them come in pieces of any size, and end after any number of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any, cast

from sockstream.conf import Settings
from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.streams import offsets
from sockstream.sender.link import Link
from sockstream.sender.road import PeerLeft, Road
from sockstream.tls.contexts import Context
from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Hello, Welcome
from sockstream.wire.receiving import (
    BatchReceived,
    Confirmed,
    Event,
    Failed,
    HelloReceived,
    ReceivingSession,
)
from sockstream.wire.records import Batch

SOURCE = "site"


class Central:
    """Central's half of one connection: a session, the batches that wait, and their applier."""

    def __init__(self, using: str, window: int) -> None:
        self.using = using
        self.window = window
        self.waiting: deque[Batch] = deque()
        self.errors: list[WireError] = []
        self.applier: Applier | None = None
        self._session = ReceivingSession(Limits(window=window), time.monotonic())

    def receive(self, data: bytes) -> None:
        self._handle(self._session.receive(data, time.monotonic()))

    def data_to_send(self) -> bytes:
        return self._session.data_to_send()

    def work(self, most: int) -> bool:
        """Apply up to `most` of the batches that wait, in one go. Returns whether there were any.

        Raises what the applier does.
        """
        batches = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        if not batches:
            return False
        assert self.applier is not None
        applied = self.applier.apply(batches)
        now = time.monotonic()
        self._session.consumed(sum(batch.size for batch in batches), now)
        self._session.applied(applied.offset, applied.digest, now)
        return True

    def lose(self) -> None:
        """The connection is gone."""
        self._session.receive_eof(time.monotonic())

    def _handle(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case HelloReceived(hello):
                    self._welcome(hello)
                case Confirmed():
                    offsets.confirm(self._opened, using=self.using)
                    opened = self._opened
                    self.applier = Applier(
                        opened.source, opened.stream, opened.fence, using=self.using
                    )
                case BatchReceived(batch):
                    self.waiting.append(batch)
                case Failed(error):
                    self.errors.append(error)

    def _welcome(self, hello: Hello) -> None:
        now = time.monotonic()
        try:
            self._opened = opened = offsets.open_stream(SOURCE, hello, using=self.using)
        except WireError as error:
            self.errors.append(error)
            self._session.refuse(error, now)
            return
        welcome = Welcome(
            protocol=opened.protocol,
            central="central",
            session=opened.session,
            offset=opened.offset,
            digest=opened.digest,
            window=self.window,
            frame_limit=hello.frame_limit,
            codec="zlib" if "zlib" in hello.codecs else "",
            heartbeat=10.0,
            session_deadline=3600.0,
            schema_verdict=opened.schema_verdict,
            staged_seq=opened.staged_seq,
            staged_digest=opened.staged_digest,
        )
        self._session.welcome(welcome, now)


class Cut(ConnectionError):
    """The connection broke, as it was to."""


class Pipe(Link):
    """What the road takes for its socket. It breaks after `life` bytes, in either direction."""

    def __init__(self, central: Central, pieces: Sequence[int], life: int | None) -> None:
        super().__init__("memory", 1, cast(Context, None), 1.0)
        self._central = central
        self._pieces: Iterator[int] = cycle(pieces)
        self._life = life
        self._inbound = b""

    def connect(self, timeout: float) -> None:
        pass

    def fileno(self) -> int:
        raise NotImplementedError("nobody waits for a pipe in memory")

    def send(self, s: Any) -> None:
        rest = bytes(s)
        while rest:
            piece, rest = self._cut(rest)
            self._central.receive(piece)

    def flush(self) -> None:
        pass

    def receive(self) -> bytes | None:
        self._inbound += self._central.data_to_send()
        if not self._inbound:
            return None
        piece, self._inbound = self._cut(self._inbound)
        return piece

    def _cut(self, data: bytes) -> tuple[bytes, bytes]:
        size = min(next(self._pieces), len(data))
        if self._life is not None:
            size = min(size, self._life)
            self._life -= size
            if not size:
                raise Cut
        return data[:size], data[size:]


class Connection:
    """One life of a link between the site and central; `broke`: it did not end by itself."""

    def __init__(
        self,
        site: str,
        central: str,
        settings: Settings,
        pieces: Sequence[int],
        life: int | None,
    ) -> None:
        self.broke = False
        self.central = Central(central, settings.WINDOW)
        self.road = Road(site, Pipe(self.central, pieces, life), settings)

    def run(self, together: Iterator[int]) -> None:
        """Send and apply until nothing moves any more, or the pipe breaks.

        `together` says how many batches each transaction at central takes. Raises WireError for
        what either end found wrong.
        """
        try:
            with self.road:
                self.road.open()
                moved = True
                while moved:
                    moved = self.road.advance()
                    moved = self.central.work(next(together)) or moved
        except (Cut, PeerLeft):
            self.broke = True
        finally:
            self.central.lose()
        if self.central.errors:
            raise self.central.errors[0]
