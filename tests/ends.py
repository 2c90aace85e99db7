"""The two ends as real processes: `oplog_receive` and `oplog_send` over mutual TLS on loopback.

What they print is kept line by line, so that a test waits for a line instead of a time, and is
shown when a test fails.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from django.db import connections
from django.db.models import Model

from sockstream.conf import settings as ours
from sockstream.rows import captured_models
from tests.databases import Pair
from tests.servers import HOST

ROOT = Path(__file__).parent.parent
SOURCE = "site"
READY_WITHIN = 60.0
STOPS_WITHIN = 60.0
POLL = 0.01
# Quick to come back, so that fifty kills fit into a minute.
QUICK = {"BACKOFF_MAX": 0.05}


@dataclass(frozen=True)
class Certificates:
    """A folder that `sockstream certs` filled: an authority, `localhost` and `site`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Fill the folder by the command that users run."""
        run = [sys.executable, "-m", "sockstream", "certs", "--out", str(folder)]
        subprocess.run(run, check=True, cwd=ROOT, capture_output=True, timeout=READY_WITHIN)
        return cls(folder)

    def settings(self, name: str) -> dict[str, str]:
        """The keys of SOCKSTREAM for the end that is called `name`."""
        return {
            "CA": str(self.folder / "ca.crt"),
            "CERT": str(self.folder / f"{name}.crt"),
            "KEY": str(self.folder / f"{name}.key"),
        }


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Made once; import it into the conftest.py of a folder whose tests start processes."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


class End:
    """A management command as a process, on the database `alias`, started and ended at will.

    As a context manager it kills what still runs at the end, and prints the log if the test fails.
    """

    command = ""
    certificate = ""
    settings_module = "tests.settings"
    launcher: Sequence[str] = ()
    """A program and its options that run the command, such as `setpriv`."""

    def __init__(
        self,
        alias: str,
        certificates: Certificates,
        *,
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        own = {**QUICK, **certificates.settings(self.certificate), **(settings or {})}
        self.alias = alias
        self.process: subprocess.Popen[str] | None = None
        self.lines: list[str] = []
        self._printed = threading.Condition()
        self._first_line = 0
        self._silent = True
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SOCKSTREAM_TEST_DEFAULT": alias,
            "SOCKSTREAM_TEST_SETTINGS": json.dumps(own),
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.kill()
        if error is not None:
            shown = [f"--- {self.command} ({self.alias}) ---", *self.lines[-200:]]
            sys.stderr.write("\n".join(shown) + "\n")

    @property
    def arguments(self) -> Sequence[str]:
        """What follows the command's name."""
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        assert not self.running
        python = [*self.launcher, sys.executable]
        manage = [*python, "-m", "django", self.command, *self.arguments]
        process = subprocess.Popen(
            [*manage, "--settings", self.settings_module],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with self._printed:
            # All at once: the process before may still be at its last words.
            self._first_line, self._silent, self.process = len(self.lines), False, process
        threading.Thread(target=self._listen, args=[process], daemon=True).start()

    def kill(self) -> None:
        """`kill -9`; returns when the process is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOPS_WITHIN)

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT are of use here."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout: float = STOPS_WITHIN) -> int:
        """Wait for the process's own end; the exit status, after its last line was heard."""
        assert self.process is not None
        status = self.process.wait(timeout)
        self.wait_for_end_of_output()
        return status

    def wait_for_line(self, pattern: str, timeout: float = READY_WITHIN) -> re.Match[str]:
        """Wait until this process has printed a line that `pattern` is found in.

        Raises AssertionError with what it printed if it ends, or the time does, without one.
        """
        found: re.Match[str] | None = None

        def ready() -> bool:
            nonlocal found
            matches = (re.search(pattern, line) for line in self.lines[self._first_line :])
            found = next(filter(None, matches), None)
            return found is not None or self._silent

        with self._printed:
            self._printed.wait_for(ready, timeout)
        assert found is not None, f"{self.command} printed no {pattern!r}:\n" + self.log
        return found

    def wait_for_end_of_output(self, timeout: float = 10.0) -> None:
        """Wait until the process has closed its output."""
        with self._printed:
            assert self._printed.wait_for(lambda: self._silent, timeout), self.log

    @property
    def log(self) -> str:
        """What was printed since the last start."""
        return "\n".join(self.lines[self._first_line :])

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self._printed:
                    self.lines.append(line.rstrip("\n"))
                    self._printed.notify_all()
        with self._printed:
            self._silent = self._silent or process is self.process
            self._printed.notify_all()


class ReceiverProcess(End):
    """`oplog_receive`. It takes a free port at the first start, and the same one at the next."""

    command = "oplog_receive"
    certificate = "localhost"

    def __init__(
        self, alias: str, certificates: Certificates, *, workers: int = 1, **options: Any
    ) -> None:
        super().__init__(alias, certificates, **options)
        self.port = 0
        self._workers = workers

    @property
    def arguments(self) -> Sequence[str]:
        return ["--bind", f"{HOST}:{self.port}", "--workers", str(self._workers)]

    @property
    def address(self) -> str:
        """HOST:PORT for `oplog_send --to`."""
        return f"{HOST}:{self.port}"

    def __enter__(self) -> Self:
        super().__enter__()
        return self.wait_until_listening()

    def wait_until_listening(self) -> Self:
        """Wait for its own word that it listens."""
        found = self.wait_for_line(r"[Ll]istening on \S*?:(\d+)")
        self.port = int(found[1])
        return self


class SenderProcess(End):
    """`oplog_send` to `address`."""

    command = "oplog_send"
    certificate = SOURCE

    def __init__(
        self,
        alias: str,
        certificates: Certificates,
        address: str,
        *,
        once: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(alias, certificates, **options)
        self.address = address
        self.once = once

    @property
    def arguments(self) -> Sequence[str]:
        stream = ["--to", self.address, "--database", self.alias]
        return [*stream, "--once"] if self.once else stream

    def wait_until_connected(self) -> Self:
        """Wait for its own word that central has welcomed it."""
        self.wait_for_line(r"Connected to ")
        return self


class SnapshotProcess(End):
    """`oplog_snapshot` of a site's database."""

    command = "oplog_snapshot"
    certificate = SOURCE

    @property
    def arguments(self) -> Sequence[str]:
        return ["--database", self.alias]


def send_once(pair: Pair, certificates: Certificates, address: str, **options: Any) -> str:
    """Run `oplog_send --once` to its end; what it printed.

    Raises AssertionError if it failed.
    """
    with SenderProcess(pair.site, certificates, address, once=True, **options) as sender:
        assert sender.wait(300) == 0, sender.log
    return sender.log


def captured(site: str) -> int:
    """How many captured rows have no number yet."""
    from sockstream.sender.models import Capture

    return Capture.objects.using(site).count()


def position(pair: Pair) -> tuple[int, int]:
    """The last seq at the site, and central's offset for its stream."""
    from sockstream.receiver.models import Offset
    from sockstream.sender.models import Stream

    seq = Stream.objects.using(pair.site).values_list("seq", flat=True).first()
    offsets = Offset.objects.using(pair.central).filter(stream=pair.site)
    return seq or 0, offsets.values_list("seq", flat=True).first() or 0


def is_applied(pair: Pair) -> bool:
    """Whether central has everything that is committed at the site now."""
    if captured(pair.site):
        return False
    seq, offset = position(pair)
    return seq == offset


def wait_until(done: Callable[[], bool], what: str, within: float = 60.0) -> float:
    """Look until `done` says so; the seconds that it took. Raises AssertionError."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() < begun + within, f"after {within} s still not: {what}"
        time.sleep(POLL)
    return time.monotonic() - begun


def wait_until_applied(pair: Pair, *ends: End, within: float = 60.0) -> None:
    """Wait until central's offset is the site's seq, and nothing more is captured.

    Raises AssertionError if that takes too long, or one of the `ends` is gone.
    """
    begun = time.monotonic()
    while not is_applied(pair):
        for end in ends:
            assert end.running, end.log
        if time.monotonic() > begun + within:
            seq, offset = position(pair)
            rest = captured(pair.site)
            raise AssertionError(f"offset {offset}, seq {seq}, captured {rest} after {within} s")
        time.sleep(POLL)


def shared_models(pair: Pair) -> list[type[Model]]:
    """The captured models whose tables both ends have."""
    tables = [set(connections[a].introspection.table_names()) for a in (pair.site, pair.central)]
    models = captured_models(ours())
    return [model for model in models if all(model._meta.db_table in t for t in tables)]
