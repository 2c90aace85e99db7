"""Several processes that serve one port, over one database; a parent that replaces who ends.

Each has a listening socket of its own (SO_REUSEPORT), made by the parent, which keeps it open: who
connects while its worker is being replaced waits for the next one. Streams move between workers as
they do between machines: whoever opens one last has it, and the others are fenced off.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess

from sockstream.conf import Settings
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.process import Hangup, Stop, hangups, stop_signals
from sockstream.receiver.dialects import dialect

logger = logging.getLogger("sockstream.receiver")

Serve = Callable[[Sequence[socket.socket], Stop, Hangup], None]
"""Serves these sockets until it is asked to stop. May raise SockstreamError."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Who ends at once is not started again at once.
_PAUSE = 1.0
_fork = multiprocessing.get_context("fork")


def share(settings: Settings, count: int, using: str) -> Settings:
    """What each of `count` workers may use, so that all of them together keep to the limits.

    Raises ConfigError if there cannot be so many on database `using`.
    """
    if count < 1:
        raise ConfigError(f"--workers {count}: not a number of processes", "Use 1 or more")
    if count > 1 and dialect(using).one_writer:
        raise ConfigError(
            f"--workers {count}: on SQLite one process writes at a time, others would only wait",
            "Leave --workers out, or use PostgreSQL",
        )
    return replace(
        settings,
        CONNECTIONS=_part(settings.CONNECTIONS, count),
        HANDSHAKES=_part(settings.HANDSHAKES, count),
        WINDOW_TOTAL=_part(settings.WINDOW_TOTAL, count),
    )


def _part(of_all: int, count: int) -> int:
    return -(-of_all // count)


class Workers:
    """Keeps a process running for each of `sockets`."""

    def __init__(self, serve: Serve, sockets: Sequence[Sequence[socket.socket]]) -> None:
        self._serve = serve
        self._sockets = sockets
        self._processes: dict[int, ForkProcess] = {}
        self._started = [time.monotonic() - _PAUSE] * len(sockets)
        # The workers stop when nobody holds its other end any more: this process was asked to
        # stop, or is gone. A signal of ours could be the second one that a worker gets.
        self._lifeline, self._held = os.pipe()

    def run(self, stop: Stop, hangup: Hangup) -> None:
        """Returns when a stop was requested and every worker has ended.

        Raises SockstreamError, when they have ended too, if one of them cannot be started.
        """
        try:
            while not stop.requested:
                pause = self._start_missing()
                ended = [process.sentinel for process in self._processes.values()]
                wait([stop.fileno(), hangup.fileno(), *ended], pause)
                if hangup.take():
                    self._pass_on_hangup()
                self._bury()
        finally:
            self._end()

    def _start_missing(self) -> float | None:
        """Start who is missing; how many seconds until the next one is due."""
        due = []
        for number in set(range(len(self._sockets))) - self._processes.keys():
            pause = self._started[number] + _PAUSE - time.monotonic()
            if pause > 0:
                due.append(pause)
            else:
                self._start(number)
        return min(due, default=None)

    def _start(self, number: int) -> None:
        self._started[number] = time.monotonic()
        process = _fork.Process(target=self._work, args=[number])
        # What comes before the worker has handlers of its own waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        except OSError as error:
            raise SockstreamError(
                "no-process",
                f"Worker {number + 1} of {len(self._sockets)} cannot be started: {error.strerror}",
                "Give central more memory or processes, or start fewer --workers",
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._processes[number] = process
        logger.info("Worker %d of %d: process %d", number + 1, len(self._sockets), process.pid)

    def _bury(self) -> None:
        for number, process in list(self._processes.items()):
            if process.is_alive():
                continue
            del self._processes[number]
            logger.warning(
                "Worker %d of %d (process %d) has ended (%s): another one takes its place",
                number + 1,
                len(self._sockets),
                process.pid,
                _end_of(process),
            )

    def _pass_on_hangup(self) -> None:
        for process in self._processes.values():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGHUP)

    def _end(self) -> None:
        for each in self._sockets:
            for sock in each:
                sock.close()
        os.close(self._held)
        for process in self._processes.values():
            process.join()
        os.close(self._lifeline)

    # In the worker's process.

    def _work(self, number: int) -> None:
        os.close(self._held)
        for other in {*range(len(self._sockets))} - {number}:
            for sock in self._sockets[other]:
                sock.close()
        with stop_signals() as stop, hangups() as hangup:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            threading.Thread(target=self._follow, args=[stop], daemon=True).start()
            try:
                self._serve(self._sockets[number], stop, hangup)
            except SockstreamError as error:
                logger.error("%s", error)
                sys.exit(1)

    def _follow(self, stop: Stop) -> None:
        os.read(self._lifeline, 1)
        stop.request("with the whole command")


def _end_of(process: ForkProcess) -> str:
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
