"""Who may not go on, seen within a second, whatever the pool and the database are doing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from django.db import Error as DatabaseError
from django.db import connections

from sockstream import tls
from sockstream.receiver.applying import faults
from sockstream.receiver.dialects import dialect
from sockstream.tls.contexts import Stamps, stamps
from sockstream.tls.papers import Papers, Paths
from sockstream.wire.errors import WireError

from . import sources

logger = logging.getLogger("sockstream.receiver")


class Watch:
    """Looks at the disabled sources and at the lists of revoked certificates.

    It has a thread and a connection of its own, because the pool's may all be at work, and a
    reader waits for no writer.
    """

    def __init__(self, papers: Papers, using: str) -> None:
        self._papers = papers
        self._using = using
        self._thread = ThreadPoolExecutor(1, "watch")
        self._lists: Stamps | None = None
        self._failing = False
        self._keeps = dialect(using).keeps_readers

    async def look(
        self, peers: Collection[tls.Peer], *, anew: bool = False
    ) -> dict[tls.Peer, WireError]:
        """Those of the connected peers that have to go, and why.

        `anew`: look at all certificates, though no list has changed. One may be out of date by now.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(self._look, set(peers), anew))

    def close(self) -> None:
        """End the thread and its connection."""
        self._thread.submit(self._drop)  # connections are a thread's own
        self._thread.shutdown()

    def _drop(self) -> None:
        connections[self._using].close()

    def _look(self, peers: Collection[tls.Peer], anew: bool) -> dict[tls.Peer, WireError]:
        out = self._disabled()
        if not self._keeps:
            self._drop()
        found = {peer: out[peer.name] for peer in peers if peer.name in out}
        files = self._papers.files
        before, self._lists = self._lists, stamps(_list(files), files.ca)
        if anew or self._lists != before:
            found = sources.revoked(peers, files) | found
        return found

    def _disabled(self) -> dict[str, WireError]:
        try:
            found = sources.all_disabled(self._using)
        except DatabaseError as error:
            self._drop()
            if not self._failing:
                logger.warning("The sources cannot be watched: %s", faults.words_of(error))
            self._failing = True
            return {}
        self._failing = False
        return found


def _list(files: Paths) -> Path:
    """Where the list of revoked certificates is, or would be."""
    return Path(files.crl) if files.crl else Path(files.ca).with_name("crl.pem")
