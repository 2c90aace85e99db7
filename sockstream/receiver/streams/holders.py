"""Who has which stream: opening one, taking it over, and what is noted when its link ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol, TypeVar

from django.db import Error as DatabaseError
from django.db import connections

from sockstream import tls
from sockstream.conf import Settings
from sockstream.receiver.applying import faults, progress
from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.applying.parts import Headers, allowed_models
from sockstream.rows import captured_models, describe, fingerprint
from sockstream.tls.expiry import CertificateWarnings
from sockstream.tls.papers import Papers
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Hello

from . import offsets, sources
from .pool import Pool
from .queue import Listener, StreamQueue
from .watch import Watch

T = TypeVar("T")

# How many hellos are judged at once while another link has their stream, on connections of theirs.
_READERS = 2

logger = logging.getLogger("sockstream.receiver")


class Holder(Listener, Protocol):
    """Who sends a stream: a link of any road. `over`: nothing of it is at work any more."""

    peer: tls.Peer
    stream: str
    over: asyncio.Future[None]

    @property
    def name(self) -> str:
        """SOURCE/STREAM."""

    @property
    def address(self) -> str:
        """Where it comes from, for people."""

    def fail(self, error: WireError, reason: str) -> None:
        """Tell the site what is wrong, and close."""


class Holders:
    """The streams that are open here. All of it is called in the event loop."""

    def __init__(self, papers: Papers, using: str, settings: Settings) -> None:
        self.pool = Pool(using, settings.APPLIERS)
        self._papers = papers
        self._watch = Watch(papers, using)
        self._using = using
        self._settings = settings
        self._schema = fingerprint(describe(model) for model in captured_models(settings))
        self._expiry = CertificateWarnings(settings.EXPIRY_WARNING)
        self._headers = Headers(allowed_models(settings), using)
        self._holders: dict[tuple[str, str], Holder] = {}
        self._applied: dict[str, int] = {}
        self._reading = asyncio.Semaphore(_READERS)
        self._unnoted = False

    async def open(self, link: Holder, hello: Hello) -> offsets.Opened:
        """Give the stream to `link`, which takes it from whoever has it.

        A hello that is refused takes nothing: it is judged before the link that has the stream is
        told to end, and again under the row's lock. Raises WireError: why the site may not send.
        """
        sources.check_certificate(link.peer, self._papers.files)
        source, using, schema = link.peer.name, self._using, self._schema
        judge = partial(offsets.judge, source, hello, using=using, schema=schema)
        open_stream = partial(offsets.open_stream, source, hello, using=using, schema=schema)
        key = source, link.stream
        try:
            if key in self._holders:
                await self._apart(judge)
            await self._take_over(key, link)
            opened = await self._in_pool(open_stream)
        except DatabaseError as error:
            failed = faults.transient(error)
            if failed is None:
                raise
            raise failed from error
        self._expiry.of_site(link.peer)
        return opened

    async def _take_over(self, key: tuple[str, str], link: Holder) -> None:
        """The transaction of the link before may hold the offset's row: it has to end first."""
        before, self._holders[key] = self._holders.get(key), link
        if before is not None:
            before.fail(fenced(), "taken over by a newer connection")
            await before.over

    def queue(self, link: Holder, opened: offsets.Opened, window: int) -> StreamQueue:
        """The way into the database for the stream that `link` has opened, with its `window`."""
        return StreamQueue(
            link.name,
            Applier(
                opened.source,
                opened.stream,
                opened.fence,
                using=self._using,
                headers=self._headers,
            ),
            partial(self._confirm, opened, link.peer, link.address),
            link,
            self.pool,
            asyncio.get_running_loop(),
            self._settings,
            window,
        )

    def _confirm(self, opened: offsets.Opened, peer: tls.Peer, address: str) -> None:
        """In the pool, before the first batch."""
        offsets.confirm(opened, using=self._using)
        offsets.touch(opened.source, peer, address=address, using=self._using)

    def applied(self, link: Holder, offset: int) -> None:
        """Remember how far a stream has come, to say it at the end."""
        self._applied[link.name] = offset

    async def close(self, opened: offsets.Opened, trouble: WireError | None) -> None:
        """Note how a stream's link has ended, unless a newer one has the stream."""
        try:
            await self._in_pool(partial(self._note_end, opened, trouble))
        except DatabaseError as error:
            logger.warning("The end of a link was not noted: %s", faults.words_of(error))

    def _note_end(self, opened: offsets.Opened, trouble: WireError | None) -> None:
        """In the pool. What mends itself by a new connection is not shown as a stop."""
        if trouble is not None and trouble.lasting:
            source, stream, fence = opened.source, opened.stream, opened.fence
            progress.note_stop(source, stream, fence, self._using, trouble)
        offsets.leave(opened, using=self._using)

    def leave(self, link: Holder) -> None:
        """Nothing of the link is at work any more."""
        key = link.peer.name, link.stream
        if self._holders.get(key) is link:
            del self._holders[key]

    async def look(self, links: Iterable[Holder]) -> None:
        """End those links whose sources are disabled, or whose certificates are newly revoked."""
        links = list(links)
        self._let_go(links, await self._watch.look([link.peer for link in links]))

    async def judge(self, links: Iterable[Holder]) -> None:
        """Note that the sites are connected; warn of certificates that expire soon, and end the
        links of those that may not go on, though no list is new: one may be too old by now.
        """
        links = list(links)
        peers = {link.peer for link in links}
        for link in links:
            self._expiry.of_site(link.peer)
        self._let_go(links, await self._watch.look(peers, anew=True))
        call = partial(sources.seen, {peer.name for peer in peers}, self._using)
        try:
            await self._in_pool(call)
        except DatabaseError as error:
            if not self._unnoted:
                words = faults.words_of(error)
                logger.warning("The sources cannot be noted as seen: %s", words)
            self._unnoted = True
        else:
            self._unnoted = False

    def _let_go(self, links: Iterable[Holder], verdicts: Mapping[tls.Peer, WireError]) -> None:
        for link in links:
            if (verdict := verdicts.get(link.peer)) is not None:
                link.fail(verdict, f"may not go on: {verdict.code}")

    def end(self) -> None:
        """Finish what is at work, and say how far each stream has come. No link may be left."""
        self._watch.close()
        self.pool.close()
        for name, offset in sorted(self._applied.items()):
            logger.info("%s: applied up to %d", name, offset)

    async def _apart(self, call: Callable[[], None]) -> None:
        """Run `call`, which only reads, beside the pool: the link before may keep all of that."""
        async with self._reading:
            await asyncio.to_thread(self._read, call)

    def _read(self, call: Callable[[], None]) -> None:
        try:
            call()
        finally:
            connections[self._using].close()

    async def _in_pool(self, call: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self.pool.call(call))


def fenced() -> WireError:
    """What a link hears that has lost its stream to a newer one."""
    return WireError("fenced", "A newer connection has taken this stream over")
