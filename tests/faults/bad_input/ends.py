"""The commands with something wrong about them, beside a site whose stream has to go on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from django.utils import timezone

from demo.compare import compare
from polls.models import Choice, Question, Tag
from tests.databases import Pair
from tests.ends import (
    ROOT,
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    send_once,
    wait_until,
    wait_until_applied,
)
from tests.zoo.models import Slot

SITE = "site_sqlite"
OTHER = "site_pg"
CENTRAL = "central_sqlite"
# As docs ask for at central: a commit waits for the disk.
DURABLE = {"SOCKSTREAM_TEST_PRAGMAS": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"}
_STAMP = re.compile(r"^[\d-]+ [\d:,]+ (?P<level>[A-Z]+) ")
_LONGEST = 400


class Receiver(ReceiverProcess):
    """`oplog_receive`; `extra` options stand last, and so win over the usual ones."""

    def __init__(self, alias: str, certificates: Certificates, *extra: str, **options: Any) -> None:
        environment = {**DURABLE, **options.pop("environment", {})}
        super().__init__(alias, certificates, environment=environment, **options)
        self.extra = extra

    @property
    def arguments(self) -> Sequence[str]:
        return [*super().arguments, *self.extra]


class Sender(SenderProcess):
    """`oplog_send`; `extra` options stand last, and so win over the usual ones."""

    def __init__(
        self, alias: str, certificates: Certificates, address: str, *extra: str, **options: Any
    ) -> None:
        super().__init__(alias, certificates, address, **options)
        self.extra = extra

    @property
    def arguments(self) -> Sequence[str]:
        return [*super().arguments, *self.extra]


class Command(End):
    """Another command of Django's or of ours, at the site or at central."""

    certificate = "site"

    def __init__(self, alias: str, certificates: Certificates, *words: str, **options: Any) -> None:
        super().__init__(alias, certificates, **options)
        self.command, *self.words = words

    @property
    def arguments(self) -> Sequence[str]:
        return [*self.words, "--database", self.alias]

    def run(self) -> None:
        """Run it to its end. Raises AssertionError if it fails."""
        self.start()
        assert self.wait() == 0, self.log


def refusal_of(end: End) -> str:
    """Run a command that cannot do its work to its end; the one line that it prints.

    Raises AssertionError if it prints anything else, or its exit status is not 1.
    """
    end.start()
    status = end.wait()
    assert status == 1, f"exit status {status}:\n{end.log}"
    assert len(end.lines) == 1, end.log
    assert end.lines[0].startswith("CommandError: "), end.log
    return is_clear(end.lines[0].removeprefix("CommandError: "))


def is_clear(line: str) -> str:
    """The line without its time and level. Raises AssertionError if it is not fit for a person."""
    found = _STAMP.match(line)
    words = line[found.end() :] if found else line
    assert len(words) < _LONGEST, words
    assert words.endswith((".", "?")), words
    # Two sentences: what is wrong, and the mend.
    assert ". " in words.rstrip("."), words
    assert not re.search(r"Traceback|\bErrno\b|Error\(|_ssl\.c|object at 0x", words), words
    show(words)
    return words


def only_words(end: End) -> list[str]:
    """What a process has printed since its start, without times and levels."""
    return [_STAMP.sub("", line) for line in end.lines]


def show(line: str) -> None:
    """Let `pytest -s` and the report of a failed test have the line."""
    sys.stdout.write(f"\n    {line}\n")


def certs(folder: Path, *arguments: str) -> None:
    """Run `sockstream certs` as a person does."""
    command = [sys.executable, "-m", "sockstream", "certs", *arguments, "--out", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True, timeout=60)


@dataclass
class World:
    """Central, a site that gets things wrong, and `other`, a site in good order.

    Each site writes models of its own, so that either is compared with central alone.
    """

    receiver: Receiver
    neighbour: Sender
    certificates: Certificates
    _numbers: count[int] = field(default_factory=count)
    _heard: int = 0

    pair = Pair(SITE, CENTRAL)
    beside = Pair(OTHER, CENTRAL)

    @property
    def address(self) -> str:
        """Central's HOST:PORT."""
        return self.receiver.address

    def sender(
        self, *extra: str, settings: Mapping[str, Any] | None = None, once: bool = True
    ) -> Sender:
        """An `oplog_send` of the site, not started."""
        to = self.address
        return Sender(SITE, self.certificates, to, *extra, once=once, settings=settings)

    def write(self) -> Question:
        """Something new at the site, in several tables."""
        question = Question(text=f"number {next(self._numbers)}", published_at=timezone.now())
        question.save(using=SITE)
        Choice.objects.using(SITE).bulk_create(
            Choice(question=question, text=text) for text in ("yes", "no")
        )
        return question

    def other_goes_on(self) -> None:
        """Write at the other site; it has to arrive over the connection that it has."""
        Slot(name=f"number {next(self._numbers)}").save(using=OTHER)
        wait_until_applied(self.beside, self.neighbour, self.receiver, within=20)
        assert compare([Slot], OTHER, CENTRAL) == []

    def nothing_is_lost(self) -> None:
        """With everything in order, all that the site wrote arrives."""
        send_once(self.pair, self.certificates, self.receiver.address)
        self.is_whole()

    def is_whole(self) -> None:
        assert compare([Question, Choice, Tag], SITE, CENTRAL) == []

    def listen(self) -> None:
        """From here on, `told` gives what central prints."""
        self._heard = len(self.receiver.lines)

    def heard(self, words: str) -> list[str]:
        """Central's lines since `listen` that have these words."""
        return [line for line in self.receiver.lines[self._heard :] if words in line]

    def told(self) -> str:
        """The one line that central has printed since `listen`."""
        wait_until(lambda: len(self.receiver.lines) > self._heard, "a line of central's", 10)
        return is_clear(self.only_line())

    def only_line(self) -> str:
        new = self.receiver.lines[self._heard :]
        assert len(new) == 1, "\n".join(new)
        return new[0]
