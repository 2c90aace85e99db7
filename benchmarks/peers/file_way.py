"""The file way: signals write JSON lines into a file, and a command at central reads them.

    python -m benchmarks.peers.file_way --records N [--central sqlite|postgresql]

`post_save` and `post_delete` hand each row to Django's JSON serializer and the document to
logging's FileHandler, with no more around it than what tells a save from a delete. Central reads
line by line, and for each calls `deserialize` and `save()` or `delete()` in autocommit. How the
file gets there is nobody's business here: its transport takes no time. Nor does the command's start
count, since it runs in this process.

All of Django and the standard library as they are; the serializer writes every field, as `dumpdata`
does. What signals do not see is counted after the measurement, by writing it.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from django.core import serializers
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from benchmarks.peers import common
from benchmarks.workload import ROUND, Site

ROLLED_BACK = 10
TURNS, TURN = 50, 20


class Ends:
    """Both databases with the same rows, and the site's writes going to a log handler."""

    def __init__(self) -> None:
        from polls.models import Choice, Question

        self.site = Site("site", Question, Choice)
        # The same seed writes the same rows.
        for each in (self.site, Site("central", Question, Choice)):
            each.fill(common.FILL)
        self.choices = Choice._default_manager.using("site")

    def write(self, handler: logging.Handler, records: int) -> None:
        """Write rounds that are captured."""
        with captured(handler):
            for _ in range(max(1, records // ROUND)):
                self.site.save()

    def capture_ratio(self, folder: Path) -> float:
        """What a captured save costs beside a plain one, taking turns. The ends differ then."""
        choice = self.choices.all()[0]
        plain: list[float] = []
        taken: list[float] = []
        for _ in range(TURNS):
            plain += [seconds_to_save(choice) for _ in range(TURN)]
            with captured(logging.FileHandler(folder / "spare")):
                taken += [seconds_to_save(choice) for _ in range(TURN)]
        return round(median(taken) / median(plain), 2)

    def what_is_missed(self, folder: Path) -> str:
        """Write what signals miss, and what they should not tell; in words."""
        counts = []
        for number, write in enumerate((self.site.write, self.roll_back)):
            path = folder / f"missed{number}"
            with captured(logging.FileHandler(path)):
                write()
            counts.append(len(path.read_text().splitlines()))
        return (
            f"of {ROUND:,} bulk writes, {counts[0]} were captured; "
            f"of {ROLLED_BACK} saves that were rolled back, {counts[1]}"
        )

    def roll_back(self) -> None:
        """Save and take it back."""
        choice = self.choices.all()[0]
        for _ in range(ROLLED_BACK):
            with transaction.atomic(using="site"):
                choice.save(using="site")
                transaction.set_rollback(True, using="site")


def seconds_to_save(row: Any) -> float:
    """Save it in autocommit."""
    begun = time.perf_counter()
    row.save(using="site")
    return time.perf_counter() - begun


@contextmanager
def captured(handler: logging.Handler) -> Iterator[None]:
    """Give the handler a line for each save and delete at the site."""
    log = logging.getLogger("oplog")
    log.setLevel(logging.INFO)
    log.propagate = False

    def saved(instance: Any, using: str, **_: Any) -> None:
        if using == "site":
            log.info(line("save", instance))

    def deleted(instance: Any, using: str, **_: Any) -> None:
        if using == "site":
            log.info(line("delete", instance))

    log.addHandler(handler)
    post_save.connect(saved)
    post_delete.connect(deleted)
    try:
        yield
    finally:
        post_save.disconnect(saved)
        post_delete.disconnect(deleted)
        log.removeHandler(handler)
        handler.close()


def line(what: str, row: Any) -> str:
    """A record as it travels."""
    return f'{{"{what}": {serializers.serialize("jsonl", [row]).rstrip()}}}'


def apply(line: str) -> int:
    """One record at central; 1."""
    [(what, row)] = json.loads(line).items()
    for found in serializers.deserialize("python", [row], using="central"):
        if what == "delete":
            found.object.delete(using="central")
        else:
            found.save(using="central")
    return 1


def ingest(path: Path) -> int:
    """What the command at central does; how many lines it has read."""
    with path.open() as lines:
        return sum(map(apply, lines))


def main() -> None:
    """Write, ingest, compare."""
    options = common.arguments(__doc__)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        common.set_up(common.ends(stack, folder, options.central))
        ends = Ends()
        path = folder / "oplog"
        ends.write(logging.FileHandler(path), options.records)
        begun = time.perf_counter()
        records = ingest(path)
        seconds = time.perf_counter() - begun
        common.equal("site", "central")
        common.report(
            "file way",
            records,
            options.central,
            seconds,
            bytes=path.stat().st_size,
            capture_ratio=ends.capture_ratio(folder),
            note=f"{ends.what_is_missed(folder)}; lines are not synced to the disk",
        )


if __name__ == "__main__":
    main()
