"""A TCP proxy between the ends that does to connections what networks do: cuts, stalls, dead lines.

Each fault is a verb of Proxy: some happen at once, the others last as long as a `with`. It knows
bytes only; what they mean is between the ends. It runs in a thread of its own.
"""

from __future__ import annotations

import math
import random
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tests.faults.flows import Direction, Flow, Treatment, Tunnel
from tests.servers import HOST, free_port

_CONNECT_WITHIN = 1.0
_LONGEST_WAIT = 60.0
BOTH = tuple(Direction)

Address = tuple[str, int]


class Proxy:
    """Listens on a port of loopback, and passes each connection on to `target`.

    As a context manager it runs until the end. `counts` says what it has done to whom.
    """

    def __init__(self, target: Address, seed: int = 0) -> None:
        self.target = target
        self.counts: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._treatments = {way: Treatment() for way in Direction}
        self._cuts: dict[Direction, threading.Event] = {}
        self._tunnels: list[Tunnel] = []
        self._twins = self._refusing = self._ended = False
        self._lock = threading.Lock()
        # A port that the system chose would not be kept while nobody listens.
        self._listener = socket.create_server((HOST, free_port()), backlog=128)
        self._listener.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    @property
    def alive(self) -> bool:
        """Whether its thread goes on."""
        return self._thread.is_alive()

    @property
    def connections(self) -> int:
        """How many connections pass through it now, dead ones too."""
        return len(self._tunnels)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changing():
            self._ended = True
        self._thread.join()
        for tunnel in self._tunnels:
            tunnel.close()
        for sock in (self._listener, self._wake, self._woken):
            sock.close()

    # The faults.

    def route(self, target: Address) -> None:
        """Pass new connections on to `target`; those that are there stay where they are."""
        with self._changing():
            self.target = target

    def cut(self, *, reset: bool) -> int:
        """End every connection, by RST or by FIN. Returns how many there were."""
        with self._changing():
            count = len(self._tunnels)
            for tunnel in self._tunnels:
                tunnel.cut(reset=reset)
            # Nobody may wait for sockets that are closed.
            self._tunnels = [tunnel for tunnel in self._tunnels if not tunnel.closed]
            return count

    def cut_after(self, size: int, way: Direction) -> threading.Event:
        """End the connection on which the next `size` bytes in this direction have passed.

        Both peers see the end of the stream right there. Returns what is set when it happens.
        """
        with self._changing():
            self._treatments[way].cut_after = size
            self._cuts[way] = threading.Event()
            return self._cuts[way]

    def flip_bit(self, way: Direction) -> None:
        """Turn one bit over in what comes next in this direction."""
        with self._changing():
            self._treatments[way].flips += 1

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens: new connections are refused, those that are there go on."""
        with self._changing():
            self._refusing = True
            # On Linux the socket keeps its port, and may listen again.
            self._listener.shutdown(socket.SHUT_RD)
        try:
            yield
        finally:
            with self._changing():
                self._listener.listen(128)
                self._refusing = False

    @contextmanager
    def stalled(self, *ways: Direction) -> Iterator[None]:
        """Nothing moves in these directions (both, if none is named); then it goes on."""
        with self._treated(ways, stalled=True):
            yield

    @contextmanager
    def half_open(self, *ways: Direction) -> Iterator[None]:
        """A dead line: bytes are taken and go nowhere, and neither end hears of the other's end.

        Connections on which bytes were lost stay dead afterwards; new ones are alive again.
        """
        with self._treated(ways, swallowed=True):
            yield

    @contextmanager
    def slow(self, rate: float, latency: float, *ways: Direction) -> Iterator[None]:
        """`rate` in bytes a second, `latency` in seconds."""
        with self._treated(ways, rate=rate, latency=latency):
            yield

    @contextmanager
    def split(self, piece: int, *ways: Direction, ragged: bool = False) -> Iterator[None]:
        """At most `piece` bytes a write; at random up to that many, if `ragged`."""
        with self._treated(ways, piece=piece, ragged=ragged):
            yield

    @contextmanager
    def coalesced(self, beat: float, *ways: Direction) -> Iterator[None]:
        """What comes within `beat` seconds goes on together."""
        with self._treated(ways, beat=beat):
            yield

    @contextmanager
    def duplicated(self) -> Iterator[None]:
        """Each new connection has a twin, to which the client's bytes are played as well."""
        with self._changing():
            self._twins = True
        try:
            yield
        finally:
            with self._changing():
                self._twins = False

    @contextmanager
    def _treated(self, ways: tuple[Direction, ...], **fault: Any) -> Iterator[None]:
        self._treat(ways or BOTH, fault)
        try:
            yield
        finally:
            usual = Treatment()
            self._treat(ways or BOTH, {name: getattr(usual, name) for name in fault})

    def _treat(self, ways: tuple[Direction, ...], changes: dict[str, Any]) -> None:
        with self._changing():
            for way in ways:
                for name, value in changes.items():
                    setattr(self._treatments[way], name, value)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            yield
        self._wake.send(b"x")

    # The thread.

    def _run(self) -> None:
        while not self._ended:
            with self._lock:
                selector, timeout = self._wanted(time.monotonic())
            with selector:
                ready = selector.select(timeout)
            readable = {key.fileobj for key, events in ready if events & selectors.EVENT_READ}
            writable = {key.fileobj for key, events in ready if events & selectors.EVENT_WRITE}
            with self._lock:
                self._step(readable, writable)

    def _wanted(self, now: float) -> tuple[selectors.PollSelector, float]:
        """What to wait for, and for how many seconds at most."""
        events: Counter[Any] = Counter({self._woken: selectors.EVENT_READ})
        if not self._refusing:
            events[self._listener] = selectors.EVENT_READ
        for flow in self._flows():
            events[flow.source] |= selectors.EVENT_READ if flow.reads else 0
            events[flow.sink] |= selectors.EVENT_WRITE if flow.blocked else 0
        for tunnel in self._tunnels:
            if tunnel.twin is not None:
                events[tunnel.twin] = selectors.EVENT_READ
        selector = selectors.PollSelector()
        for sock, wanted in events.items():
            if wanted:
                selector.register(sock, wanted)
        due = min((flow.due() for flow in self._flows()), default=math.inf)
        return selector, min(max(0.0, due - now), _LONGEST_WAIT)

    def _step(self, readable: set[Any], writable: set[Any]) -> None:
        if self._woken in readable:
            self._woken.recv(4_096)
        if self._listener in readable and not self._refusing:
            self._accept()
        now = time.monotonic()
        for tunnel in self._tunnels:
            tunnel.pump(now, readable, writable)
        self._tunnels = [tunnel for tunnel in self._tunnels if not tunnel.closed]
        for way, done in self._cuts.items():
            if self._treatments[way].cut_after is None:
                done.set()

    def _flows(self) -> Iterator[Flow]:
        for tunnel in self._tunnels:
            yield from tunnel.flows

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return  # it was gone before it was taken
        self.counts["connections"] += 1
        server = _connected(self.target)
        if server is None:
            client.close()
            return
        twin = _connected(self.target) if self._twins else None
        for sock in (client, server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tunnel = Tunnel(client, server, twin, self._treatments, self._draw, self.counts)
        self._tunnels.append(tunnel)


def _connected(target: Address) -> socket.socket | None:
    """A connection to `target`; None if nobody takes it."""
    try:
        sock = socket.create_connection(target, _CONNECT_WITHIN)
    except OSError:
        return None
    sock.setblocking(False)
    return sock
