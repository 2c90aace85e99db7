"""Central as a process, a site that goes on working, and somebody who wants to stop both."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

import psutil
from django.db import connections

from sockstream import tls
from tests.databases import Pair
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until_applied
from tests.integration.receiver.site import Oplog, Site
from tests.servers import HOST
from tests.zoo.models import Slot

MIB = 1 << 20
HOSTILE = "hostile"
PAIR = Pair("site_sqlite", "central_sqlite")
PATIENCE = 20.0
_SAMPLE = 0.005
_SLOWEST = 5.0


@dataclass
class Watch:
    """What was seen of central's process, in bytes, and of the site beside, in seconds."""

    process: psutil.Process
    before: int = 0
    peak: int = 0
    after: int = 0
    latencies: list[float] = field(default_factory=list)
    failed: BaseException | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.before = self.peak = self.rss
        self._threads = [threading.Thread(target=work) for work in (self._sample, self._write)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
        self.after = self.rss

    @property
    def rss(self) -> int:
        return int(self.process.memory_info().rss)

    @property
    def grown(self) -> int:
        """By how many bytes the process was larger at its peak than before."""
        return self.peak - self.before

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE):
            self.peak = max(self.peak, self.rss)

    def _write(self) -> None:
        """Write at the site in good standing, and look until it is at central."""
        try:
            while not self._over.is_set():
                self.latencies.append(_one_write())
        except BaseException as error:  # noqa: BLE001 -- the test's own thread raises it
            self.failed = error
        finally:
            connections[PAIR.site].close()
            connections[PAIR.central].close()


def _one_write() -> float:
    made = Slot(name="beside")
    made.save(using=PAIR.site)
    begun = time.monotonic()
    while not Slot.objects.using(PAIR.central).filter(pk=made.pk).exists():
        assert time.monotonic() < begun + PATIENCE, "the other site stands still"
        time.sleep(0.02)
    return time.monotonic() - begun


@dataclass
class Ground:
    """Where it takes place."""

    receiver: ReceiverProcess
    neighbour: SenderProcess
    certificates: Certificates
    end: ExitStack = field(default_factory=ExitStack)

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.receiver.port

    def one_write(self) -> None:
        """Have the site beside send something, after which nothing is done for the first time."""
        _one_write()

    @contextmanager
    def unharmed(self, most: int) -> Iterator[Watch]:
        """Whatever happens meanwhile, central's process grows by `most` bytes at the most, and the
        other site's writes arrive at once, over the connection that it has."""
        connected = self.neighbour.lines[:]
        watch = Watch(psutil.Process(self.receiver.pid))
        with watch:
            yield watch
        shown = ", ".join(f"{getattr(watch, it) / MIB:.1f}" for it in ("before", "peak", "after"))
        slowest = max(watch.latencies, default=0.0)
        sys.stdout.write(f"\n    RSS before, peak, after: {shown} MiB")
        sys.stdout.write(f"; beside: {len(watch.latencies)} writes, {slowest:.2f} s at most\n")
        if watch.failed is not None:
            raise watch.failed
        assert watch.grown < most, f"{watch.grown / MIB:.1f} MiB more"
        assert watch.latencies
        assert max(watch.latencies) < _SLOWEST
        assert self.neighbour.lines == connected, "the other site had to connect again"
        wait_until_applied(PAIR, self.neighbour, self.receiver)
        assert "Traceback" not in self.receiver.log

    def context(self, name: str = HOSTILE) -> ssl.SSLContext:
        """What somebody speaks TLS with who has this key."""
        files = self.certificates.settings(name)
        return tls.client_context(files["CA"], files["CERT"], files["KEY"])

    def site(self, name: str = HOSTILE, oplog: Oplog | None = None, stream: str = "main") -> Site:
        """Somebody with this key, not connected yet."""
        made = Site(self.address, self.context(name), oplog, stream=stream)
        self.end.callback(made.close)
        return made

    def dial(self) -> socket.socket:
        """A plain connection."""
        return socket.create_connection(self.address, PATIENCE)

    def shake_hands(self) -> ssl.SSLSocket:
        """A TLS connection with a good certificate, nothing said yet."""
        return self.context().wrap_socket(self.dial(), server_hostname="localhost")


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the other end has closed."""
    heard = b""
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            heard += data
    return heard
