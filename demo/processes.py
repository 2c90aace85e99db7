"""The demo's processes: started with a log of their own, killed and stopped by their process id."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).resolve().parent.parent
STOPS_WITHIN = 30.0
ANSWERS_WITHIN = 30.0


class DemoError(Exception):
    """Why the demo failed, in one line."""


class Program:
    """A Python program that can be started again and again.

    What it says on stderr goes to `log`; its stdout is read line by line with `answer`. It ends
    with the `with` block, in whatever way that ends.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.log = folder / f"{name.replace(' ', '-')}.log"
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._forget()

    @property
    def pid(self) -> int:
        """The process id, while it is started."""
        return self._started().pid

    def start(self) -> None:
        """Start it, in a session of its own, so that Ctrl-C reaches the demo alone."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def answer(self) -> str:
        """The next line of its stdout. Raises DemoError if it ends, or says nothing for long."""
        stdout = self._stdout()
        if not select.select([stdout], [], [], ANSWERS_WITHIN)[0]:
            raise DemoError(f"The {self.name} says nothing (see {self.log})")
        if not (line := stdout.readline()):
            self._started().wait(STOPS_WITHIN)
            raise self._ended()
        return line.rstrip("\n")

    def check(self) -> None:
        """Raises DemoError if it has ended although nobody asked for it."""
        if self._process is not None and self._process.poll() is not None:
            raise self._ended()

    def kill(self) -> int:
        """SIGKILL. Returns the id of the process that is no more."""
        process = self._started()
        process.kill()
        process.wait()
        if process.returncode != -signal.SIGKILL:
            raise self._ended()
        self._forget()
        return process.pid

    def stop(self) -> None:
        """SIGTERM. Raises DemoError if it does not end in time with status 0."""
        self._started().send_signal(signal.SIGTERM)
        self.finish()

    def finish(self) -> list[str]:
        """Wait until it has ended by itself, its stdin being closed; what else it has said.

        Raises DemoError as `stop` does.
        """
        process = self._started()
        try:
            said = process.communicate(timeout=STOPS_WITHIN)[0]
        except subprocess.TimeoutExpired as error:
            words = f"The {self.name} did not end within {STOPS_WITHIN:.0f} s (see {self.log})"
            raise DemoError(words) from error
        if process.returncode != 0:
            raise self._ended()
        self._forget()
        return said.splitlines()

    def _started(self) -> subprocess.Popen[str]:
        assert self._process is not None, f"{self.name} is not started"
        return self._process

    def _stdout(self) -> IO[str]:
        stdout = self._started().stdout
        assert stdout is not None
        return stdout

    def _ended(self) -> DemoError:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        last = lines[-1] if lines else "it said nothing"
        status = self._started().returncode
        return DemoError(f"The {self.name} ended with status {status}: {last} (see {self.log})")

    def _forget(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None


def wait_or_end(seconds: float, stream: IO[str]) -> bool:
    """Wait for `seconds`. Returns at once, and True, when `stream` has come to its end."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([stream], [], [], left)[0] and not stream.read(1):
            return True
    return False
