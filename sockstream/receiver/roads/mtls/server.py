"""Central's server: its sockets and signals, whom it looks at again, and an end in good order."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import Any

from sockstream import tls
from sockstream.conf import Settings
from sockstream.process import Hangup, Stop
from sockstream.receiver.streams.holders import Holders
from sockstream.tls.expiry import CertificateWarnings
from sockstream.tls.papers import Papers

from .admission import Admission
from .connection import Connection
from .link import Link, Terms
from .refusals import Refusals

_GOODBYES = 3.0
_WATCH = 0.4

logger = logging.getLogger("sockstream.receiver")


class Server:
    """Serves on given sockets. `serve` returns after a stop was requested and all is in order."""

    def __init__(
        self, papers: Papers, using: str, settings: Settings, hangup: Hangup | None = None
    ) -> None:
        self.holders = Holders(papers, using, settings)
        self.terms = Terms.of(settings, socket.gethostname())
        self.links: set[Link] = set()
        self._papers = papers
        self._settings = settings
        self._refusals = Refusals()
        self._admission: Admission[Connection] = Admission(settings)
        self._hangup = hangup
        self._warnings = CertificateWarnings(settings.EXPIRY_WARNING)
        self._loop: asyncio.AbstractEventLoop
        self._look_now: asyncio.Event

    def run(self, sockets: Iterable[socket.socket], stop: Stop) -> None:
        """Serve on these sockets until `stop` is requested, with uvloop if it is installed."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.serve(sockets, stop))

    async def serve(self, sockets: Iterable[socket.socket], stop: Stop) -> None:
        """Accept, and drain once `stop` is requested."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_complain)
        servers = [
            await self._loop.create_server(self._connect, sock=sock, backlog=1_024)
            for sock in sockets
        ]
        self._look_now = asyncio.Event()
        looking = [self._loop.create_task(each) for each in (self._look_again(), self._watch())]
        if self._hangup is not None:
            self._loop.add_reader(self._hangup.fileno(), self._heed, self._hangup)
        await self._asked(stop)
        logger.info("Stopping (%s): what is being applied is finished first", stop.reason)
        for task in looking:
            task.cancel()
        for server in servers:
            server.close()
        await self._drain()
        if self._hangup is not None:
            self._loop.remove_reader(self._hangup.fileno())
        self._refusals.flush(float("inf"))
        self.holders.end()
        logger.info("Stopped")

    def _connect(self) -> Connection:
        return Connection(
            self._papers, self._settings, self._admission, self._refusals, self._make_link
        )

    def _make_link(self, connection: Connection, peer: tls.Peer) -> Link:
        link = Link(self.holders, connection, peer, self.terms)
        self.links.add(link)
        link.over.add_done_callback(lambda _: self.links.discard(link))
        return link

    async def _asked(self, stop: Stop) -> None:
        asked = self._loop.create_future()

        def heard() -> None:
            self._loop.remove_reader(stop.fileno())
            asked.set_result(None)

        self._loop.add_reader(stop.fileno(), heard)
        await asked

    async def _drain(self) -> None:
        self._admission.close()
        links = list(self.links)
        for link in links:
            link.leave("shutdown", random.uniform(1, 5))
        for link in links:
            await link.idle()
        if overs := [link.over for link in links]:
            await asyncio.wait(overs, timeout=_GOODBYES)
            for link in links:
                link.abandon()
            await asyncio.wait(overs)
        connections = self._admission.all
        for connection in connections:
            connection.close()
        if closed := [connection.closed for connection in connections]:
            await asyncio.wait(closed, timeout=_GOODBYES)

    async def _look_again(self) -> None:
        """Now and then: may the sites that are connected go on?"""
        while True:
            self._warnings.of_ours(self._papers.files.cert, self._papers.own)
            self._warnings.of_lists(self._papers.files, [link.peer for link in self.links])
            await self._until_next_look()
            self._refusals.flush(self._loop.time())
            await self.holders.judge(self.links)

    async def _watch(self) -> None:
        """Who is disabled or revoked goes within a second."""
        while True:
            await asyncio.sleep(_WATCH)
            await self.holders.look(self.links)

    async def _until_next_look(self) -> None:
        self._look_now.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._look_now.wait(), self._settings.RECHECK)

    def _heed(self, hangup: Hangup) -> None:
        """SIGHUP: certificates, the list of revoked ones and the sources are looked at anew."""
        if hangup.take():
            self._papers.read_again()
            self._warnings.say_again()
            self._look_now.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio would print with a traceback: one line, unless it is a bug."""
    error = context.get("exception")
    if isinstance(error, OSError):
        logger.warning("%s: %s", context["message"], error)
    else:
        logger.error("%s", context["message"], exc_info=error)
