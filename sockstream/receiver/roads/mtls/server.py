"""Central's server: accepts sites, knows which link has which stream, and ends in good order."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from django.db import Error as DatabaseError

from sockstream import tls
from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.process import Hangup, Stop
from sockstream.receiver.applying import faults, progress
from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.streams import offsets, sources
from sockstream.receiver.streams.pool import Pool
from sockstream.receiver.streams.queue import StreamQueue
from sockstream.rows import captured_models, describe, fingerprint
from sockstream.tls.expiry import ExpiryWarnings
from sockstream.tls.papers import Papers
from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Hello

from .admission import Admission
from .connection import Connection
from .link import LASTING, Link
from .refusals import Refusals
from .windows import Windows

T = TypeVar("T")

_GOODBYES = 3.0

logger = logging.getLogger("sockstream.receiver")


class Server:
    """What all links share. `serve` returns after a stop was requested and all is in order."""

    def __init__(
        self, papers: Papers, using: str, settings: Settings, hangup: Hangup | None = None
    ) -> None:
        self.papers = papers
        self.using = using
        self.settings = settings
        self.limits = Limits(
            frame=settings.MAX_FRAME,
            window=settings.WINDOW,
            heartbeat=settings.HEARTBEAT,
            handshake=settings.HANDSHAKE_TIMEOUT,
        )
        self.name = socket.gethostname()
        self.windows = Windows(settings.WINDOW, settings.WINDOW_TOTAL)
        self.pool = Pool(using, settings.APPLIERS)
        self.refusals = Refusals()
        self.loop: asyncio.AbstractEventLoop
        models = captured_models(settings)
        self._schema = fingerprint(describe(model) for model in models)
        self._hangup = hangup
        self._expiry = ExpiryWarnings(settings.EXPIRY_WARNING)
        self._look_now: asyncio.Event
        self._admission = Admission(settings)
        self._links: set[Link] = set()
        self._holders: dict[tuple[str, str], Link] = {}
        self._applied: dict[str, int] = {}
        self._draining = False

    def run(self, sockets: Iterable[socket.socket], stop: Stop) -> None:
        """Serve on these sockets until `stop` is requested, with uvloop if it is installed."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.serve(sockets, stop))

    async def serve(self, sockets: Iterable[socket.socket], stop: Stop) -> None:
        """Accept, and drain once `stop` is requested."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_complain)
        servers = [
            await self.loop.create_server(lambda: Connection(self), sock=sock, backlog=1_024)
            for sock in sockets
        ]
        self._look_now = asyncio.Event()
        looking = self.loop.create_task(self._look_again())
        if self._hangup is not None:
            self.loop.add_reader(self._hangup.fileno(), self._heed, self._hangup)
        await self._asked(stop)
        logger.info("Stopping (%s): what is being applied is finished first", stop.reason)
        looking.cancel()
        for server in servers:
            server.close()
        await self._drain()
        if self._hangup is not None:
            self.loop.remove_reader(self._hangup.fileno())
        self.pool.close()
        self.refusals.flush(float("inf"))
        for name, offset in sorted(self._applied.items()):
            logger.info("%s: applied up to %d", name, offset)
        logger.info("Stopped")

    async def _asked(self, stop: Stop) -> None:
        asked = self.loop.create_future()

        def heard() -> None:
            self.loop.remove_reader(stop.fileno())
            asked.set_result(None)

        self.loop.add_reader(stop.fileno(), heard)
        await asked

    async def _drain(self) -> None:
        self._draining = True
        links = list(self._links)
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

    # What connections and links ask of the server.

    def admit(self, connection: Connection) -> bool:
        """Whether there is room for one more connection; an older one may have to give way."""
        if self._draining:
            return False
        try:
            gives_way = self._admission.enter(connection)
        except SockstreamError as error:
            self.refused(connection, error)
            return False
        if gives_way is not None:
            gives_way.give_way()
        return True

    def met(self, connection: Connection) -> None:
        """A site has said hello on it."""
        self._admission.know(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""
        self._admission.forget(connection)

    def refused(self, connection: Connection, error: SockstreamError | WireError) -> None:
        """Log a refusal."""
        self.refusals.note(connection.host, connection.peer, error, self.loop.time())

    def enter(self, link: Link) -> None:
        """A site has shown its certificate."""
        self._links.add(link)

    def leave(self, link: Link) -> None:
        """Nothing of the link is at work any more."""
        self._links.discard(link)
        key = link.source, link.stream
        if self._holders.get(key) is link:
            del self._holders[key]

    def make_queue(self, link: Link, opened: offsets.Opened) -> StreamQueue:
        """The way into the database for the stream that `link` has opened."""
        return StreamQueue(
            link.name,
            Applier(opened.source, opened.stream, opened.fence, using=self.using),
            partial(self._confirm, opened, link.peer, link.address),
            link,
            self.pool,
            self.loop,
            self.settings,
        )

    def _confirm(self, opened: offsets.Opened, peer: tls.Peer, address: str) -> None:
        """In the pool, before the first batch."""
        offsets.confirm(opened, using=self.using)
        offsets.touch(opened.source, peer, address=address, using=self.using)

    async def close_stream(self, opened: offsets.Opened, trouble: WireError | None) -> None:
        """Note how the link has ended, unless a newer one has the stream."""
        try:
            await self._in_pool(partial(self._note_end, opened, trouble))
        except DatabaseError as error:
            logger.warning("The end of a link was not noted: %s", faults.words_of(error))

    def _note_end(self, opened: offsets.Opened, trouble: WireError | None) -> None:
        """In the pool. What mends itself by a new connection is not shown as a stop."""
        if trouble is not None and trouble.class_ in LASTING:
            source, stream, fence = opened.source, opened.stream, opened.fence
            progress.note_stop(source, stream, fence, self.using, trouble)
        offsets.leave(opened, using=self.using)

    def note_applied(self, link: Link) -> None:
        """Remember what to say at the end."""
        self._applied[link.name] = link.offset

    async def open_stream(self, link: Link, hello: Hello) -> offsets.Opened:
        """Give the stream to `link`, which takes it from whoever has it.

        Raises WireError: why the site may not send.
        """
        sources.check_certificate(link.peer, self.papers.files)
        await self._take_over(link)
        call = partial(
            offsets.open_stream, link.source, hello, using=self.using, schema=self._schema
        )
        try:
            return await self._in_pool(call)
        except DatabaseError as error:
            failed = faults.transient(error)
            if failed is None:
                raise
            raise failed from error

    async def _take_over(self, link: Link) -> None:
        """The transaction of the link before may hold the offset's row: it has to end first."""
        key = link.source, link.stream
        before, self._holders[key] = self._holders.get(key), link
        if before is not None:
            before.fail(fenced(), "taken over by a newer connection")
            await before.over

    async def _in_pool(self, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self.pool.call(call))

    async def _look_again(self) -> None:
        """Now and then: may the sites that are connected go on?"""
        while True:
            self._expiry.of_ours(self.papers.files.cert, self.papers.not_after)
            await self._until_next_look()
            self.refusals.flush(self.loop.time())
            for link in self._links:
                self.warn_of_expiry(link.peer)
            peers = [link.peer for link in self._links]
            call = partial(sources.judge, peers, self.papers.files, self.using)
            try:
                verdicts = await self._in_pool(call)
            except DatabaseError as error:
                logger.warning("The sources cannot be looked at: %s", faults.words_of(error))
                continue
            for link in list(self._links):
                if (verdict := verdicts.get(link.peer)) is not None:
                    link.fail(verdict, f"may not go on: {verdict.code}")

    async def _until_next_look(self) -> None:
        self._look_now.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._look_now.wait(), self.settings.RECHECK)

    def warn_of_expiry(self, peer: tls.Peer) -> None:
        """Log it if a site's certificate expires soon; once a day."""
        self._expiry.of_site(peer)

    def _heed(self, hangup: Hangup) -> None:
        """SIGHUP: certificates, the list of revoked ones and the sources are looked at anew."""
        if hangup.take():
            self.papers.read_again()
            self._look_now.set()


def fenced() -> WireError:
    """What a link hears that has lost its stream to a newer one."""
    return WireError("fenced", "A newer connection has taken this stream over")


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
