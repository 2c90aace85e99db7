"""A proxy between central and its PostgreSQL that may swallow the answer to a COMMIT.

Whether the transaction is there afterwards, central has to find out by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.servers import HOST, free_port

_CHUNK = 1 << 16
_COMMIT = b"COMMIT"


class Answers:
    """Passes connections on to `port()`, which is asked each time. Runs as long as it is entered.

    `swallowed` counts the answers that nobody got.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self.port = free_port()
        self.swallowed = 0
        self._target = port
        self._armed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def swallow(self) -> None:
        """Swallow the answer to the next COMMIT, and end its connection."""
        self._armed = True

    def stop(self) -> None:
        """Let all answers through again."""
        self._armed = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._pass, HOST, self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(HOST, self._target())
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self)
        try:
            await asyncio.gather(link.up(reader, back), link.down(there, writer))
        finally:
            writer.transport.abort()
            back.transport.abort()

    def takes(self, data: bytes) -> bool:
        """Whether the answer to this is to be swallowed."""
        if self._armed and _COMMIT in data:
            self._armed = False
            return True
        return False


class _Link:
    """One connection."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._swallows = False

    async def up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                self._swallows = self._swallows or self._answers.takes(data)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self._swallows:
                    self._answers.swallowed += 1
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
