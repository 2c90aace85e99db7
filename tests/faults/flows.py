"""What the proxy does to bytes on their way: one Flow a direction, two of them a Tunnel.

Sockets here never block. Who calls has to do so again when a socket is ready, or at `due`.
"""

from __future__ import annotations

import math
import random
import socket
import struct
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum

CHUNK = 64 * 1024
QUEUE = 256 * 1024
_WRITES_AT_ONCE = 64
_RESET = struct.pack("ii", 1, 0)


class Direction(StrEnum):
    """Which way bytes go: UP from the site to central, DOWN from central to the site."""

    UP = "up"
    DOWN = "down"


@dataclass
class Treatment:
    """What happens to the bytes of one direction, in every tunnel.

    `stalled`: they are not even read, so that the peer's window fills up. `swallowed`: they are
    read and go nowhere, now and for the rest of that connection. `rate`: bytes a second.
    `latency`: seconds that each byte is late. `beat`: bytes go on at multiples of so many seconds,
    together. `piece`: the most bytes a write; `ragged`: less than that, at random. `cut_after`: the
    connection ends when so many more bytes have gone on. `flips`: how many chunks get one bit
    turned over.
    """

    stalled: bool = False
    swallowed: bool = False
    rate: float = math.inf
    latency: float = 0.0
    beat: float = 0.0
    piece: int = CHUNK
    ragged: bool = False
    cut_after: int | None = None
    flips: int = 0


class Flow:
    """The bytes of one direction of a tunnel, from the socket `source` to the socket `sink`.

    `lost`: what comes is read and thrown away, and the sink never hears of an end.
    """

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        treatment: Treatment,
        draw: random.Random,
        counts: Counter[str],
    ) -> None:
        self.source = source
        self.sink = sink
        self.treatment = treatment
        self.lost = False
        self.ended = False
        self.finished = False
        self._draw = draw
        self._counts = counts
        self._queue: deque[tuple[float, bytes]] = deque()
        self._queued = 0
        self._free_at = 0.0
        self._blocked = False

    @property
    def reads(self) -> bool:
        """Whether it wants to know when the source is readable."""
        return not (self.ended or self.treatment.stalled or self._queued >= QUEUE)

    @property
    def blocked(self) -> bool:
        """Whether it wants to know when the sink is writable."""
        return self._blocked and not self.treatment.stalled

    def due(self) -> float:
        """When `write` has something to do, by the clock of `now`; inf if nothing waits."""
        if not self._queue or self._blocked or self.treatment.stalled:
            return math.inf
        return max(self._queue[0][0], self._free_at)

    def read(self, now: float) -> bytes:
        """Take what has arrived; the bytes as they came. Raises OSError."""
        data = self.source.recv(CHUNK)
        if not data:
            self.ended = True
            return data
        self.lost = self.lost or self.treatment.swallowed
        if self.lost:
            self._counts["bytes swallowed"] += len(data)
            return data
        self._queue.append((self._due_at(now), self._flipped(data)))
        self._queued += len(data)
        return data

    def write(self, now: float, *, ready: bool = False) -> bool:
        """Pass on what is due; whether the tunnel is to be cut now. Raises OSError."""
        self._blocked = self._blocked and not ready
        for _ in range(_WRITES_AT_ONCE):
            if self.lost or self.due() > now:
                break
            if self._write_piece(now):
                return True
        self._pass_end_on()
        return False

    def lose(self) -> None:
        """From now on, nothing goes on."""
        self.lost, self._queued, self._blocked = True, 0, False
        self._queue.clear()

    def _write_piece(self, now: float) -> bool:
        due, data = self._queue.popleft()
        piece = data[: self._size(len(data))]
        try:
            sent = self.sink.send(piece)
        except BlockingIOError:
            sent, self._blocked = 0, True
        if sent < len(data):
            self._queue.appendleft((due, data[sent:]))
        self._queued -= sent
        self._free_at = max(now, self._free_at) + sent / self.treatment.rate
        left = self.treatment.cut_after
        if left is None:
            return False
        self.treatment.cut_after = None if left == sent else left - sent
        return left == sent

    def _size(self, at_most: int) -> int:
        most = self.treatment.piece
        size = min(at_most, self._draw.randint(1, most) if self.treatment.ragged else most)
        if self.treatment.rate < math.inf:
            size = min(size, max(1, int(self.treatment.rate / 20)))
        left = self.treatment.cut_after
        return size if left is None else min(size, left)

    def _due_at(self, now: float) -> float:
        due = now + self.treatment.latency
        if self.treatment.beat:
            due = math.ceil(due / self.treatment.beat) * self.treatment.beat
        return due

    def _flipped(self, data: bytes) -> bytes:
        if not self.treatment.flips:
            return data
        self.treatment.flips -= 1
        self._counts["bits flipped"] += 1
        changed = bytearray(data)
        changed[self._draw.randrange(len(data))] ^= 1 << self._draw.randrange(8)
        return bytes(changed)

    def _pass_end_on(self) -> None:
        held = self.lost or self.treatment.stalled or self._queue
        if self.ended and not (self.finished or held):
            self.finished = True
            self.sink.shutdown(socket.SHUT_WR)


class Tunnel:
    """A client's connection and the one to the server, with a flow either way.

    `twin`: a second connection to the server, which gets the client's bytes too and whose answers
    are thrown away; `twin_answered` is how many bytes these were, until the server ended it.
    """

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        twin: socket.socket | None,
        treatments: dict[Direction, Treatment],
        draw: random.Random,
        counts: Counter[str],
    ) -> None:
        up, down = treatments[Direction.UP], treatments[Direction.DOWN]
        self.client = client
        self.server = server
        self.twin = twin
        self.closed = False
        self.flows = [
            Flow(client, server, up, draw, counts),
            Flow(server, client, down, draw, counts),
        ]
        self._counts = counts

    def pump(self, now: float, readable: set[socket.socket], writable: set[socket.socket]) -> None:
        """Move what can be moved; closes the sockets when nothing more can come of them."""
        for flow in self.flows:
            self._move(flow, now, flow.source in readable, flow.sink in writable)
        if self.twin is not None and self.twin in readable:
            self._hear_twin(self.twin)
        if not self.closed and all(self._is_over(flow) for flow in self.flows):
            self.close()

    def cut(self, *, reset: bool) -> None:
        """End both connections: by a reset, or as if each peer had nothing more to say."""
        self._counts["connections cut"] += 1
        if reset:
            self.reset()
            return
        for flow in self.flows:
            flow.lose()
            self._end(flow.sink)

    def reset(self) -> None:
        """End both connections with RST."""
        for sock in (self.client, self.server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def close(self) -> None:
        self.closed = True
        for sock in (self.client, self.server, self.twin):
            if sock is not None:
                sock.close()

    def _move(self, flow: Flow, now: float, readable: bool, writable: bool) -> None:
        if self.closed:
            return
        if readable and flow.reads:
            try:
                self._copy(flow, flow.read(now))
            except OSError:
                self._lose(flow.source)
        if not self.closed:
            try:
                if flow.write(now, ready=writable):
                    self.cut(reset=False)
            except OSError:
                self._lose(flow.sink)

    def _lose(self, broken: socket.socket) -> None:
        """One end is gone. The other one hears of it, unless the line between them is dead."""
        if not any(flow.lost for flow in self.flows):
            self.reset()
            return
        for flow in self.flows:
            flow.lose()
            flow.ended = flow.ended or flow.source is broken

    def _copy(self, flow: Flow, data: bytes) -> None:
        if self.twin is not None and flow.source is self.client and data:
            try:
                self.twin.sendall(data)
            except OSError:
                self._refuse_twin()

    def _hear_twin(self, twin: socket.socket) -> None:
        try:
            answer = twin.recv(CHUNK)
        except OSError:
            answer = b""
        self._counts["bytes answered to twins"] += len(answer)
        if not answer:
            self._refuse_twin()

    def _refuse_twin(self) -> None:
        if self.twin is not None:
            self._counts["twins refused"] += 1
            self.twin.close()
            self.twin = None

    def _is_over(self, flow: Flow) -> bool:
        return flow.finished or (flow.lost and flow.ended)

    @staticmethod
    def _end(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone already
