"""What a process of ours hears and says: a stop, a hang-up, log lines."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class Stop:
    """Says that the process was asked to stop. Wait for `fileno()` to become readable, or ask."""

    def __init__(self) -> None:
        self.reason = ""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    @property
    def requested(self) -> bool:
        return bool(self.reason)

    def fileno(self) -> int:
        """Readable, and it stays so, once a stop was requested."""
        return self._read

    def request(self, reason: str) -> None:
        """Ask to stop; from any thread or signal handler."""
        if not self.reason:
            self.reason = reason
            os.write(self._write, b"x")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the request. Returns whether it has come."""
        return bool(select.select([self._read], [], [], timeout)[0])

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """The first SIGTERM or SIGINT requests a stop; the second one ends the process at once.

    Outside the main thread, where Python takes no signals, `Stop.request` is the only way.
    """
    stop = Stop()
    signalled = False
    in_main = threading.current_thread() is threading.main_thread()
    wanted = (signal.SIGTERM, signal.SIGINT) if in_main else ()

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(128 + number)
        signalled = True
        stop.request(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


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


def ignore_hangups(command: str) -> None:
    """If this process runs `command`, ignore SIGHUP until that listens to it with `hangups`.

    Python itself would end. Nothing is missed: the command reads its files after this.
    """
    if sys.argv[1:2] == [command] and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def open_missing_outputs() -> None:
    """Give a process that was started with a closed stdout or stderr one that keeps nothing.

    Python has None in their place, and the next file that is opened would take their numbers.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            _occupy(number)
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _occupy(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)


class _Lines(logging.StreamHandler[TextIO]):
    """The handler that `start_logging` adds, told apart from those of LOGGING by its type."""


_level_of_ours = logging.NOTSET


def start_logging(verbosity: int, stream: TextIO | None = None) -> None:
    """Write the lines of the logger `sockstream` to `stream` (default: stderr).

    LOGGING wins. If it gives handlers to this logger, or to the root logger, the lines go there
    alone. If it gives a level to this logger, or handlers to the root logger, then its levels
    count, and `verbosity` does not.
    """
    global _level_of_ours
    logger, root = logging.getLogger("sockstream"), logging.getLogger()
    _stop_ours(logger)
    if logger.level == logging.NOTSET and not root.handlers:
        _level_of_ours = _LEVELS[min(verbosity, 2)]
        logger.setLevel(_level_of_ours)
    if not logger.hasHandlers():
        handler = _Lines(stream or sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def _stop_ours(logger: logging.Logger) -> None:
    """Undo what an earlier command of this process did to the logger."""
    global _level_of_ours
    for ours in [known for known in logger.handlers if isinstance(known, _Lines)]:
        logger.removeHandler(ours)
        logger.propagate = True
    if _level_of_ours and logger.level == _level_of_ours:
        logger.setLevel(logging.NOTSET)
    _level_of_ours = logging.NOTSET
