"""The road over a mutual-TLS socket: one connection, from hello to bye.

It reads the oplog from a cursor of its own, keeps the window filled, and notes what is acked.
`connect` blocks; nothing else does.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import NoReturn, Self

from sockstream import __version__, tls
from sockstream.conf import Settings
from sockstream.databases import origin
from sockstream.exceptions import LONGEST_NAME, SockstreamError, printable
from sockstream.rows import captured_models, describe, fingerprint
from sockstream.wire import handshake, records, sending
from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Bye, Hello, Welcome

from .link import Link
from .oplog import store

_INSTANCE = os.urandom(16)
_READ_AHEAD = 4
_NOTE_ACK_EVERY = 1.0


class PeerLeft(Exception):
    """Central said bye, or ended the connection.

    `retry_after`: seconds that it asked to wait; None if it did not say.
    """

    def __init__(self, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.retry_after = retry_after


class Road:
    """One connection to central for the stream of database `using`.

    `acked` is the last seq that central applied, `kept` how many records after it central keeps of
    a transaction that has not ended, `refusing` why its database refuses for now, `central` how it
    calls itself; all of it once `welcomed`.
    """

    def __init__(self, using: str, link: Link, settings: Settings) -> None:
        self.using = using
        self.link = link
        self.settings = settings
        self.welcomed = False
        self.announced = False
        self.central = ""
        self.warning: WireError | None = None
        self.acked = 0
        self.kept = 0
        self.refusing: WireError | None = None
        self._bye: Bye | None = None
        self._epoch = b""
        self._cursor = 0
        self._last_sent_open = False
        self._ahead: deque[records.Batch] = deque()
        self._dry = False
        self._unsendable: WireError | None = None
        self._whole_up_to = 0
        self._noted = 0
        self._note_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()
        self._note_ack()

    def connect(self) -> None:
        """Reach central; from any thread. Raises OSError, UnicodeError for a host that is no name,
        or WireError for a certificate that is not to be trusted.
        """
        self.link.connect(self.settings.CONNECT_TIMEOUT)

    def open(self) -> None:
        """Say hello to the central that was reached. Raises OSError."""
        now = time.monotonic()
        limits = Limits(
            frame=self.settings.MAX_FRAME,
            heartbeat=self.settings.HEARTBEAT,
            handshake=self.settings.HANDSHAKE_TIMEOUT,
        )
        self.session = sending.SendingSession(self._hello(), limits, now)
        self.link.send(self.session.data_to_send())

    def _hello(self) -> Hello:
        row = store.stream(self.using)
        self._epoch = bytes(row.epoch)
        held = store.held(self.using)
        models = captured_models(self.settings)
        return Hello(
            protocol_min=handshake.PROTOCOL,
            protocol_max=handshake.PROTOCOL,
            software=f"sockstream {__version__}",
            features=[],
            stream=self.using,
            epoch=self._epoch,
            parent_epoch=bytes(row.parent_epoch or b""),
            lowest_seq=held.first,
            highest_seq=held.last,
            acked_seq=row.acked_seq,
            last_session=row.session,
            instance=_INSTANCE,
            host_id=b"",
            frame_limit=self.settings.MAX_FRAME,
            codecs=["zlib"] if self.settings.COMPRESS else [],
            schema=fingerprint(describe(model) for model in models),
            digest=bytes(row.digest),
            forwards=origin.forwarded(self.using),
        )

    def advance(
        self, *, leaving: bool = False, unfinished: bool = False, news: bool = True
    ) -> bool:
        """Take what has arrived, and send what the window allows.

        No new group if `leaving`; a group that is still being numbered only if `unfinished`. What
        was read to its end is looked at again if there is `news` of the oplog.

        Returns whether anything moved. Raises OSError for the connection, WireError for what
        central or the session refused, PeerLeft if central ended it.
        """
        self._dry = self._dry and not news
        arrived = self._take()
        sent = self._fill(leaving, unfinished)
        self._handle(self.session.tick(time.monotonic()))
        self._pass_on()
        if time.monotonic() >= self._note_at:
            self._note_ack()
        return arrived or sent

    def leave(self) -> None:
        """Say bye, after everything sent was acked."""
        self.session.bye("done", time.monotonic())
        self._pass_on()

    @property
    def in_flight(self) -> int:
        """How many bytes of records were sent and are not acked yet."""
        return self.session.in_flight

    @property
    def unsent(self) -> int:
        """How many bytes wait for the socket."""
        return self.link.unsent

    @property
    def state(self) -> str:
        """What central does, in a few words."""
        if not self.welcomed:
            return "connecting"
        if self.kept:
            return f"central keeps {self.kept:,} records of a transaction that has not ended"
        return f"connected to {self.central}"

    def fileno(self) -> int:
        return self.link.fileno()

    def explain(self, error: Exception) -> SockstreamError:
        """What is wrong with the connection, in one line with the mend."""
        tool = self.link.context.is_by_tool
        return tls.explain(error, self.link.host, int(self.link.port or 0), server=False, tool=tool)

    @property
    def deadline(self) -> float:
        """When `advance` has to be called next, by the monotonic clock."""
        due = self.session.deadline
        return min(due, self._note_at) if self.acked > self._noted else due

    def _take(self) -> bool:
        arrived = False
        while data := self.link.receive():
            arrived = True
            self._handle(self.session.receive(data, time.monotonic()))
        if data == b"":
            self._handle(self.session.receive_eof(time.monotonic()))
        if self.session.closed:
            raise self._peer_left()
        return arrived

    def _peer_left(self) -> PeerLeft:
        if self._bye is None:
            return PeerLeft("Central closed the connection")
        return PeerLeft(
            f"Central said bye ({printable(self._bye.reason, LONGEST_NAME)})",
            self._bye.retry_after,
        )

    def _handle(self, events: list[sending.Event]) -> None:
        for event in events:
            match event:
                case sending.Welcomed(welcome):
                    self._start(welcome)
                case sending.Acked(offset):
                    self.acked = offset
                    self.kept = 0
                    self.refusing = None
                case sending.Progressed(applied=applied, trouble=trouble):
                    self.kept, self.refusing = applied, trouble
                case sending.Refused(error) | sending.Failed(error):
                    self._pass_on()
                    raise error
                case sending.PeerClosing(bye):
                    # What is in flight is still acked; the session says when that is done.
                    self._bye = bye

    def _start(self, welcome: Welcome) -> None:
        held = store.held(self.using)
        acked = store.stream(self.using).acked_seq
        try:
            at_offset = store.digest_at(welcome.offset, self.using)
            at_staged = store.digest_at(welcome.staged_seq, self.using)
            found = handshake.judge_welcome(
                welcome,
                at_offset,
                held.first,
                held.last,
                digest_at_staged=at_staged,
                acked=acked,
            )
        except WireError as error:
            self._fail(error)
        store.note_session(welcome.session, welcome.offset, self.using)
        self.warning = found.warning
        self._cursor, self._dry = found.next_seq, False
        self.session.confirm(self._cursor, found.digest, time.monotonic())
        self.acked, self.welcomed = welcome.offset, True
        self.central = printable(welcome.central, LONGEST_NAME)
        self._whole_up_to = welcome.offset
        self.kept = self._cursor - 1 - welcome.offset

    def _fail(self, error: WireError) -> NoReturn:
        """Tell central, which shows it too, and give up."""
        self.session.fail(error, time.monotonic())
        self._pass_on()
        raise error

    def _fill(self, leaving: bool, unfinished: bool) -> bool:
        sent = False
        while self.welcomed and self._may_send(leaving, unfinished):
            batch = self._ahead.popleft()
            try:
                records.verify(batch)
                self.session.send(batch, time.monotonic())
            except WireError as error:
                self._unsendable = error
                self._ahead.clear()
                break
            self._last_sent_open = batch.open
            self._whole_up_to = records.last_group_end(batch, self._whole_up_to)
            self._pass_on()
            sent = True
        if self._unsendable is not None and self.acked >= self._whole_up_to:
            # Only now: central drops what it has not begun to apply when it hears of an error.
            self._fail(self._unsendable)
        return sent

    def _may_send(self, leaving: bool, unfinished: bool) -> bool:
        if leaving and not self._last_sent_open:
            return False
        if not (self._ahead or self._dry or self._unsendable):
            self._read_ahead(unfinished)
        return bool(self._ahead) and self.session.can_send(self._ahead[0].size)

    def _read_ahead(self, unfinished: bool) -> None:
        try:
            self._ahead.extend(
                store.read(self._cursor, self.using, _READ_AHEAD, unfinished=unfinished)
            )
        except WireError as error:
            self._unsendable = error
        self._dry = len(self._ahead) < _READ_AHEAD
        if self._ahead:
            self._cursor = self._ahead[-1].last_seq + 1

    def _pass_on(self) -> None:
        if data := self.session.data_to_send():
            self.link.send(data)
        else:
            self.link.flush()

    def _note_ack(self) -> None:
        # A write transaction an ack would make the site's own writes wait for us.
        if self.acked > self._noted:
            self._noted = self.acked
            store.note_ack(self._noted, self.using, self._epoch)
        self._note_at = time.monotonic() + _NOTE_ACK_EVERY
