"""SIGHUP: read the certificates anew. It never ends the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Hangup:
    """Says that SIGHUP came. Wait for `fileno()` to become readable, then `take` it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """Readable once SIGHUP came, until it is taken."""
        return self._read

    def request(self) -> None:
        """What SIGHUP does; from any thread or signal handler."""
        # A full pipe says it already.
        with suppress(BlockingIOError):
            os.write(self._write, b"x")

    def take(self) -> bool:
        """Whether it has come since this was asked last."""
        with suppress(BlockingIOError):
            return bool(os.read(self._read, 1 << 16))
        return False

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@contextmanager
def hangups() -> Iterator[Hangup]:
    """SIGHUP makes a request. Outside the main thread, where Python takes no signals, none does."""
    hangup = Hangup()
    in_main = threading.current_thread() is threading.main_thread()

    def handle(number: int, frame: FrameType | None) -> None:
        hangup.request()

    before = signal.signal(signal.SIGHUP, handle) if in_main else None
    try:
        yield hangup
    finally:
        if in_main:
            signal.signal(signal.SIGHUP, before)
        hangup.close()
