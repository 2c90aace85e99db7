"""What the two ends of a link share: states, time, life and death.

A session is one connection's life, as a machine without a socket: bytes go in and events come out
(`receive`), the driver says what it decided, and bytes to send come out (`data_to_send`). It has
no clock: each call brings `now`, in seconds of any monotonic clock, and `deadline` says when
`tick` wants to be called at the latest.

The site opens with hello, and central judges it; central answers welcome, and the site judges
that; with confirm the records may flow. From then on each end sends a ping every heartbeat,
whatever else it is doing, and drops a peer from which no byte came for some heartbeats. Bytes
count as life, not messages, because a large frame takes long on a slow line.

The end begins with bye. Who says it sends no more records, or takes no more; what is in flight is
still applied and acked. The site answers a bye with its own at once; central, which may still be
applying, when it has acked every whole group that came. An error ends everything at once: after
it was sent or received the session is closed, and so is what a peer must not do. The table below
is what a peer may do; a message that is not in it is an error.

    state      the site                           central
    opening    hello sent                         nothing came
    judging    welcome came, not confirmed        hello came, not answered
    welcomed   -                                  welcome sent
    streaming  confirm sent                       confirm came
    leaving    bye sent                           bye sent
    left       -                                  bye came, what came is being applied
    parting    both said bye, acks still come     both said bye, acks are still sent
    closed     send what is queued, then close the connection
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from .errors import WireError
from .frames import FrameReader
from .limits import Limits
from .messages import (
    Ack,
    Bye,
    Confirm,
    Error,
    Hello,
    Message,
    Ping,
    Pong,
    Progress,
    Records,
    Refuse,
    Welcome,
    pack,
    unpack,
)


class State(StrEnum):
    """Where a session stands."""

    OPENING = "opening"
    JUDGING = "judging"
    WELCOMED = "welcomed"
    STREAMING = "streaming"
    LEAVING = "leaving"
    LEFT = "left"
    PARTING = "parting"
    CLOSED = "closed"


Table = Mapping[State, Mapping[type, State]]

AT_THE_SITE: Table = {
    State.OPENING: {Welcome: State.JUDGING, Refuse: State.CLOSED, Error: State.CLOSED},
    State.JUDGING: {
        Ping: State.JUDGING,
        Pong: State.JUDGING,
        Bye: State.PARTING,
        Error: State.CLOSED,
    },
    State.STREAMING: {
        Ack: State.STREAMING,
        Progress: State.STREAMING,
        Ping: State.STREAMING,
        Pong: State.STREAMING,
        Bye: State.PARTING,
        Error: State.CLOSED,
    },
    State.LEAVING: {
        Ack: State.LEAVING,
        Progress: State.LEAVING,
        Ping: State.LEAVING,
        Pong: State.LEAVING,
        Bye: State.PARTING,
        Error: State.CLOSED,
    },
    State.PARTING: {
        Ack: State.PARTING,
        Progress: State.PARTING,
        Ping: State.PARTING,
        Pong: State.PARTING,
        Error: State.CLOSED,
    },
}

AT_CENTRAL: Table = {
    State.OPENING: {Hello: State.JUDGING},
    State.JUDGING: {Bye: State.LEFT, Error: State.CLOSED},
    State.WELCOMED: {
        Confirm: State.STREAMING,
        Ping: State.WELCOMED,
        Pong: State.WELCOMED,
        Bye: State.LEFT,
        Error: State.CLOSED,
    },
    State.STREAMING: {
        Records: State.STREAMING,
        Ping: State.STREAMING,
        Pong: State.STREAMING,
        Bye: State.LEFT,
        Error: State.CLOSED,
    },
    State.LEAVING: {
        Confirm: State.LEAVING,
        Records: State.LEAVING,
        Ping: State.LEAVING,
        Pong: State.LEAVING,
        Bye: State.PARTING,
        Error: State.CLOSED,
    },
    State.LEFT: {Ping: State.LEFT, Pong: State.LEFT, Error: State.CLOSED},
    State.PARTING: {Ping: State.PARTING, Pong: State.PARTING, Error: State.CLOSED},
}

_ENDING = frozenset({State.LEAVING, State.LEFT, State.PARTING})


class Event:
    """What a session tells its driver."""


@dataclass(frozen=True, slots=True)
class PeerClosing(Event):
    """The peer said bye. Go on until the session is closed."""

    bye: Bye


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The session is closed: the peer sent this error, or this end found it in the peer."""

    error: WireError


class Session(ABC):
    """The common part of both ends. `state` is where it stands; change it by its methods."""

    _table: Table = {}

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.state = State.OPENING
        self._reader = FrameReader(limits.first_frame)
        self._outbound = bytearray()
        self._heartbeat = limits.heartbeat
        self._heard_at = now
        self._handshake_by = now + limits.handshake
        self._ping_at = math.inf
        self._ends_at = math.inf
        self._drained_by = math.inf
        self._pings = 0
        self._answered_since = now
        self._answered = 0

    @property
    def closed(self) -> bool:
        """Nothing comes any more: send what `data_to_send` gives, then close the connection."""
        return self.state is State.CLOSED

    @property
    def deadline(self) -> float:
        """When `tick` must be called at the latest, by the clock of `now`; inf once closed."""
        if self.closed:
            return math.inf
        return min(
            self._handshake_by, self._ping_at, self._silent_at(), self._ends_at, self._drained_by
        )

    def data_to_send(self) -> bytes:
        """The bytes that are to be sent now. The next call gives only newer ones."""
        data = bytes(self._outbound)
        self._outbound.clear()
        return data

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What `data`, cut anywhere, means. Never raises for what a peer sends: see Failed."""
        if self.closed or not data:
            return []
        self._heard_at = now
        self._reader.push(data)
        return list(self._events(now))

    def _events(self, now: float) -> Iterator[Event]:
        try:
            while not self.closed and (body := self._reader.next()) is not None:
                yield from self._take(unpack(body, self.limits), now)
        except WireError as error:
            yield from self._break(error)

    def receive_eof(self, now: float) -> list[Event]:
        """The connection ended. That is an error unless somebody said bye."""
        if self.closed:
            return []
        ending = self.state in _ENDING
        self.state = State.CLOSED
        if ending:
            return []
        where = " in the middle of a message" if self._reader.partial else ""
        return [Failed(WireError("connection-lost", f"The peer closed the connection{where}"))]

    def tick(self, now: float) -> list[Event]:
        """Do what is due: give up on a peer that is silent or too slow, end in time, send a ping.

        Read what has arrived before, or a process that was held up drops a living peer.
        """
        if self.closed:
            return []
        if overdue := self._overdue(now):
            return self._break(overdue)
        if now >= self._ends_at:
            self._ends_at = math.inf
            self._end_session(now)
        if now >= self._ping_at and not self.closed:
            self._pings += 1
            self._send(Ping(self._pings))
            self._ping_at = now + self._heartbeat
        return []

    def _overdue(self, now: float) -> WireError | None:
        if now >= self._handshake_by:
            return WireError("handshake-timeout", "The peer did not finish the handshake in time")
        if now >= self._silent_at():
            quiet = now - self._heard_at
            return WireError("silence", f"Nothing came from the peer for {quiet:.0f} seconds")
        if now >= self._drained_by:
            return WireError("drain-timeout", "The peer did not end the session in time")
        return None

    def _silent_at(self) -> float:
        if self._ping_at == math.inf:
            return math.inf
        return self._heard_at + self.limits.beats * self._heartbeat

    def _start_clocks(self, welcome: Welcome, now: float) -> None:
        self._heard_at = now
        self._heartbeat = welcome.heartbeat
        self._ping_at = now + welcome.heartbeat
        if welcome.session_deadline:
            self._ends_at = now + welcome.session_deadline

    def _take(self, message: Message, now: float) -> list[Event]:
        allowed = self._table[self.state].get(type(message))
        if allowed is None:
            name = type(message).__name__.lower()
            raise WireError("bad-state", f"A {name} message came while {self.state}")
        before, self.state = self.state, allowed
        match message:
            case Ping(token):
                self._answer(now)
                self._send(Pong(token))
                return []
            case Pong():
                self._answer(now)
                return []
            case Error():
                return [Failed(message.error)]
        return self._on(message, before, now)

    @abstractmethod
    def _on(self, message: Message, before: State, now: float) -> list[Event]:
        """Act on a message that the table allowed in the state `before`."""

    @abstractmethod
    def _end_session(self, now: float) -> None:
        """The session deadline has come."""

    def _answer(self, now: float) -> None:
        """Count what a peer may say at any time: one that never stops is dropped.

        Each message keeps this end from the other peers for a moment, answered or not.
        """
        if now - self._answered_since >= self._heartbeat:
            self._answered_since, self._answered = now, 0
        self._answered += 1
        if self._answered > self.limits.answers:
            raise WireError("too-many-pings", "The peer sends more pings and pongs than it may")

    def _send(self, message: Message) -> None:
        self._outbound += pack(message)

    def _say_bye(self, bye: Bye, now: float) -> None:
        self._send(bye)
        self._drained_by = now + self.limits.drain

    def _close_with(self, message: Message) -> None:
        self._send(message)
        self.state = State.CLOSED

    def _break(self, error: WireError) -> list[Event]:
        self._close_with(Error.of(error))
        return [Failed(error)]
