"""What the demo does, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from . import databases
from .compare import Difference, compare, counts
from .databases import CENTRAL, SITE, Applied, Standing
from .display import Display, table
from .processes import DemoError, Program

HOST = "127.0.0.1"
MOVES_WITHIN = 30.0
LOOK_EVERY = 0.1
LEGEND = (
    "rows: at the site/at central; seq: records numbered; acked: those that the site knows to be"
    " applied; offset: those that central has applied; waiting: those that it has not"
)


@dataclass(frozen=True)
class Places:
    """Where the demo's files are, and both databases as DATABASE_URL names them."""

    folder: Path
    site_url: str
    central_url: str

    @property
    def certs(self) -> Path:
        return self.folder / "certs"

    def tls(self, name: str) -> list[str]:
        """The options that give a command the certificate `name`."""
        files = {"ca": "ca.crt", "cert": f"{name}.crt", "key": f"{name}.key"}
        return [f"--{option}={self.certs / file}" for option, file in files.items()]


class Story:
    """The processes of one demo. Raises DemoError for whatever does not happen as it should."""

    def __init__(self, places: Places, display: Display, records: int, seed: int) -> None:
        self.places = places
        self.display = display
        self.records = records
        self.seed = seed
        self._stack = ExitStack()
        self._address = f"{HOST}:0"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def prepare(self) -> None:
        """Certificates, and the tables of both databases."""
        certs = self._program("certs", ["-m", "sockstream", "certs", "--out", self.places.certs])
        migrates = [
            self._program(f"migrate {end}", [f"{end}/manage.py", "migrate", "--verbosity=0"], end)
            for end in ("sender", "receiver")
        ]
        for program in (certs, *migrates):
            program.start()
        for program in (certs, *migrates):
            program.finish()
        self.display.say(f"Made certificates and two databases in {self.places.folder}")

    def begin(self) -> None:
        """Start central, the site's sender, and the site's application."""
        self._start_receiver()
        command = ["sender/manage.py", "oplog_send", f"--to={self._address}"]
        self.sender = self._program("sender", [*command, *self.places.tls("site")], "sender")
        self.sender.start()
        self.display.say(f"Started the sender, process {self.sender.pid}")
        self.traffic = self._program("traffic", ["-m", "demo.traffic", str(self.seed)], "sender")
        self.traffic.start()
        self.display.say(f"Started the site's application, process {self.traffic.pid}: it writes")
        self.display.say(LEGEND)
        self._until("the first records", lambda now: now.offset >= self.records / 5)

    def kill_sender(self) -> None:
        """End the sender without a warning, and start it again when records have piled up."""
        self._until_busy()
        self.display.say(f"Killed the sender, process {self.sender.kill()}, with SIGKILL")
        backlog = self._pile_up()
        self.sender.start()
        self.display.say(f"Started the sender again, process {self.sender.pid}")
        self._until("what was written meanwhile", lambda now: now.offset >= backlog)

    def kill_receiver(self) -> None:
        """The same with the receiver."""
        self._until_busy()
        self.display.say(f"Killed the receiver, process {self.receiver.kill()}, with SIGKILL")
        backlog = self._pile_up()
        self._start_receiver()
        self.display.say(
            "The sender tries again by itself, after pauses that grow with each failure"
        )
        self._until("what was written meanwhile", lambda now: now.offset >= backlog)

    def end(self) -> None:
        """Stop writing, wait until everything is there, and stop both ends."""
        self._until("the rest", lambda now: now.written >= self.records)
        (said,) = self.traffic.finish()
        done: dict[str, int] = json.loads(said)
        ways = ", ".join(f"{way} {times}" for way, times in done.items())
        self.display.say(f"Stopped writing. How often, each way: {ways}")
        now = self._until("the last records", lambda now: now.arrived)
        self.display.show(now, always=True)
        self.sender.stop()
        self.receiver.stop()
        self.display.say("Everything has arrived. Stopped both ends with SIGTERM, exit status 0")

    def judge(self) -> None:
        """Compare both databases and show the table. Raises DemoError if anything differs."""
        models = databases.models()
        different = compare(models, SITE, CENTRAL)
        now, applied = databases.standing(), databases.applied()
        at_site, at_central = counts(models, SITE), counts(models, CENTRAL)
        self.display.console.print(table(at_site, at_central, different, now))
        if wrong := list(_wrong(different, now, applied)):
            raise DemoError("; ".join(wrong))
        words = f"Both ends are equal; central has applied {applied.records:,} records, each once"
        self.display.say(words)

    def _start_receiver(self) -> None:
        command = ["receiver/manage.py", "oplog_receive", f"--bind={self._address}"]
        self.receiver = self._program(
            "receiver", [*command, *self.places.tls("localhost")], "receiver"
        )
        self.receiver.start()
        # The first one chooses a free port; the next ones have to take the same.
        self._address = self.receiver.answer().removeprefix("Listening on ")
        words = f"Started the receiver, process {self.receiver.pid}, on {self._address}"
        self.display.say(words)

    def _pile_up(self) -> int:
        """Let the application go on alone for a while; how many records it has made by then."""
        much = databases.standing().written + self.records // 5
        return self._until("the application", lambda now: now.written >= much).written

    def _until_busy(self) -> None:
        """Wait for a moment when records are on their way."""
        while databases.standing().waiting == 0:
            self.traffic.check()

    def _until(self, what: str, holds: Callable[[Standing], bool]) -> Standing:
        """Wait until `holds`. Raises DemoError if a process ends, or nothing moves for long."""
        last, deadline = Standing(), time.monotonic() + MOVES_WITHIN
        while not holds(now := databases.standing()):
            self.display.show(now)
            for program in (self.receiver, self.sender, self.traffic):
                program.check()
            if now.stopped:
                raise DemoError(f"Central stopped the stream: {now.stopped}")
            if (now.written, now.offset) != (last.written, last.offset):
                last, deadline = now, time.monotonic() + MOVES_WITHIN
            elif time.monotonic() > deadline:
                raise DemoError(_stuck(what, now))
            time.sleep(LOOK_EVERY)
        self.display.show(now)
        return now

    def _program(self, name: str, arguments: Sequence[str | Path], end: str = "") -> Program:
        environment: dict[str, str] = {}
        if end:
            url = self.places.site_url if end == "sender" else self.places.central_url
            environment = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": f"{end}.settings"}
        program = Program(name, arguments, environment, self.places.folder)
        return self._stack.enter_context(program)


def _stuck(what: str, now: Standing) -> str:
    words = f"Nothing has moved for {MOVES_WITHIN:.0f} s, while waiting for {what}"
    return f"{words}: seq {now.seq}, offset {now.offset}. {now.error}".rstrip()


def _wrong(different: Sequence[Difference], now: Standing, applied: Applied) -> Iterator[str]:
    if different:
        count = (
            "1 difference" if len(different) == 1 else f"{len(different)} differences, the first"
        )
        yield f"{count}: {different[0]}"
    if not now.arrived:
        yield f"the site is at {now.written}, central at {now.offset}, or their digests differ"
    if applied.records != now.seq:
        yield f"central has applied {applied.records} records, the site has sent {now.seq}"
    if applied.met:
        yield f"{applied.met} records met rows at central that were not as the site left them"
