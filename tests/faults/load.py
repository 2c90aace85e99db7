"""A site's application under load, as a process of its own: `Writer` starts it, `main` is it.

Every transaction leaves a question that says who wrote it, as which of his transactions, and how
many choices it has. It changes rows that count their own changes, moves money between accounts,
swaps what is unique, and is now and then undone. What was committed is printed after the commit,
which is the account that central is compared with in the end.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import django
from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

ACCOUNTS = 12
BALANCE = 100
SLOTS = 5
MOST_CHOICES = 4
STOPS_WITHIN = 30.0
# A person's time to think, so that the load leaves the two ends some of the machine.
LONGEST_PAUSE = 0.02


class Undone(Exception):
    """Rolls a transaction back."""


class Writer:
    """The process. `committed` and `deleted` are the names of questions, as it says them."""

    def __init__(
        self, alias: str, number: int, seed: int, *, longest_pause: float = LONGEST_PAUSE
    ) -> None:
        """`longest_pause`: seconds between two transactions, at most."""
        self.alias = alias
        self.number = number
        self.seed = seed
        self.longest_pause = longest_pause
        self.committed: list[str] = []
        self.deleted: set[str] = set()
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        program = [sys.executable, "-m", "tests.faults.load"]
        self._process = subprocess.Popen(
            [*program, self.alias, str(self.number), str(self.seed), str(self.longest_pause)],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": "."},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._begun = threading.Event()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        if not self._begun.wait(STOPS_WITHIN):
            self._process.kill()
            raise AssertionError("\n".join(["the load did not begin", *self.errors]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let it finish its transaction, and take its account."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(STOPS_WITHIN)
        finally:
            self._process.kill()
        self._listener.join(STOPS_WITHIN)
        assert status == 0, "\n".join(self.errors)
        assert not self.errors, "\n".join(self.errors)

    @property
    def expected(self) -> set[str]:
        """The questions that have to be there."""
        return set(self.committed) - self.deleted

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._note(line.rstrip("\n"))
                self._begun.set()

    def _note(self, line: str) -> None:
        match line.split():
            case ["committed", name]:
                self.committed.append(name)
            case ["committed", name, "deleted", gone]:
                self.committed.append(name)
                self.deleted.add(gone)
            case ["undone", _]:
                pass
            case _:
                self.errors.append(line)


class Load:
    """Writes transactions into the database `using`."""

    def __init__(self, using: str, writer: int, seed: int) -> None:
        self.using = using
        self.writer = writer
        self.random = random.Random(f"{seed}/{writer}")
        self._count = 0
        self._kept: list[str] = []

    def transact(self) -> str:
        """One transaction; the line that says what became of it."""
        self._count += 1
        choices = self.random.randint(0, MOST_CHOICES)
        name = f"{self.writer}:{self._count}:{choices}"
        try:
            with transaction.atomic(using=self.using):
                self._ask(name, choices)
                gone = self._act()
                if self.random.random() < 0.1:
                    raise Undone
        except Undone:
            return f"undone {name}"
        self._kept.append(name)
        if gone is None:
            return f"committed {name}"
        self._kept.remove(gone)
        return f"committed {name} deleted {gone}"

    def _act(self) -> str | None:
        for _ in range(self.random.randint(1, 3)):
            acts = [self._vote, self._swap, self._tag, self._bulk, self._undo]
            self.random.choice(acts)()
        gone = self._forget() if self._kept and self.random.random() < 0.3 else None
        if self.random.random() < 0.7:
            # Once and last: two that hold accounts and want more could wait for each other.
            self._pay()
        return gone

    def _ask(self, name: str, choices: int) -> None:
        from polls.models import Choice, Question

        question = Question(text=name, published_at=timezone.now())
        question.save(using=self.using)
        for number in range(choices):
            Choice(question=question, text=f"{name}/{number}").save(using=self.using)

    def _pay(self) -> None:
        from tests.zoo.models import Required

        accounts = list(Required.objects.using(self.using).order_by("id").values_list("id"))
        chosen = sorted(self.random.sample([account for (account,) in accounts], 2))
        amount = self.random.randint(1, 9)
        for account, change in zip(chosen, (amount, -amount), strict=True):
            Required.objects.using(self.using).filter(id=account).update(
                price=F("price") + change, count=F("count") + 1
            )

    def _vote(self) -> None:
        from polls.models import Choice

        votes = Choice.objects.using(self.using).filter(text__startswith=f"{self.writer}:")
        chosen = votes.order_by("-text").values_list("id", flat=True)[: self.random.randint(1, 20)]
        Choice.objects.using(self.using).filter(id__in=list(chosen)).update(votes=F("votes") + 1)

    def _swap(self) -> None:
        from tests.zoo.models import Slot

        slots = Slot.objects.using(self.using)
        one, other = self.random.sample(list(slots.filter(name=f"of {self.writer}")), 2)
        slots.filter(id=one.id).update(position=None)
        slots.filter(id=other.id).update(position=one.position)
        slots.filter(id=one.id).update(position=other.position)

    def _tag(self) -> None:
        from polls.models import Question, Tag

        tags = list(Tag.objects.using(self.using).order_by("name"))
        mine = Question.objects.using(self.using).filter(text__startswith=f"{self.writer}:")
        newest = mine.order_by("-published_at").first()
        if newest is not None:
            newest.tags.set(self.random.sample(tags, self.random.randint(0, len(tags))))

    def _bulk(self) -> None:
        from polls.models import Choice, Question

        name = f"{self.writer}:{self._count}:"
        question = Question.objects.using(self.using).get(text__startswith=name)
        choices = list(Choice.objects.using(self.using).filter(question=question))
        for choice in choices:
            choice.votes += 10
        Choice.objects.using(self.using).bulk_update(choices, ["votes"])

    def _undo(self) -> None:
        """What a savepoint takes back."""
        from polls.models import Tag

        with self._savepoint():
            Tag(name=f"never {self.random.random()}").save(using=self.using)
            self._pay()

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        try:
            with transaction.atomic(using=self.using):
                yield
                raise Undone
        except Undone:
            pass

    def _forget(self) -> str:
        from polls.models import Question

        gone = self.random.choice(self._kept)
        Question.objects.using(self.using).filter(text=gone).delete()
        return gone


def furnish(using: str, writers: int) -> None:
    """What the writers find: accounts that all of them use, slots of their own, and tags."""
    from polls.models import Tag
    from tests.zoo.models import Required, Slot

    accounts = [Required(name=f"account {n}", price=BALANCE) for n in range(ACCOUNTS)]
    Required.objects.using(using).bulk_create(accounts)
    slots = [
        Slot(position=writer * SLOTS + number, name=f"of {writer}")
        for writer in range(writers)
        for number in range(SLOTS)
    ]
    Slot.objects.using(using).bulk_create(slots)
    Tag.objects.using(using).bulk_create([Tag(name=name) for name in ("red", "green", "blue")])


def main() -> None:
    """Write until the standard input is closed."""
    alias, writer, seed, pause = sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4])
    django.setup()
    options = connections[alias].settings_dict["OPTIONS"]
    if connections[alias].vendor == "sqlite":
        # Two writers that read first could not both go on: SQLite would refuse one at once.
        options["transaction_mode"] = "IMMEDIATE"
    ended = threading.Event()
    threading.Thread(target=_await_end, args=[ended], daemon=True).start()
    load = Load(alias, writer, seed)
    while not ended.is_set():
        sys.stdout.write(load.transact() + "\n")
        sys.stdout.flush()
        time.sleep(load.random.uniform(0, pause))


def _await_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main()
