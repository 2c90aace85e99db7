"""How fast central applies, beside the same records one by one with `deserialize` and `save()`.

    python benchmarks/apply_rate.py [--records 200000] [--single 2000] [--rows 50000]

Both ways run in the same process on the same databases, SQLite (synchronous FULL, WAL) and
PostgreSQL, on tables that already have rows. The mixture is 60 % inserts, 30 % updates and 10 %
deletes of questions and choices. Exits 1 if a ratio is below 20.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django  # noqa: E402

django.setup()

from django.core import serializers  # noqa: E402
from django.db import connections, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from polls.models import Choice, Question  # noqa: E402
from sockstream.receiver.applying.applier import Applier  # noqa: E402
from sockstream.wire.records import DELETE, INSERT, UPDATE, Batch  # noqa: E402
from tests.databases import Databases  # noqa: E402
from tests.integration.applier.feed import Feed  # noqa: E402

Write = tuple[int, Any]
BATCH = 1_000
TOGETHER = 20
ROUNDS = 10
WANTED = 20


def traffic(count: int, rows: Sequence[Choice], seed: int) -> Iterator[Write]:
    """Writes that follow from each other: what is updated or deleted is there."""
    chance = random.Random(seed)
    live = list(rows)
    question = live[0].question
    for number in range(count):
        dice = chance.random()
        at = chance.randrange(len(live))
        if dice < 0.1:
            live[at], live[-1] = live[-1], live[at]
            yield DELETE, live.pop()
        elif dice < 0.4:
            live[at].votes += 1
            yield UPDATE, live[at]
        elif dice < 0.45:
            question = Question(text=f"Question {number}?", published_at=timezone.now())
            yield INSERT, question
        else:
            live.append(Choice(question=question, text=f"Choice {number}", votes=number % 7))
            yield INSERT, live[-1]


def batches(feed: Feed, writes: Iterator[Write]) -> list[Batch]:
    """The writes as a site sends them."""
    add = {INSERT: feed.insert, UPDATE: feed.update, DELETE: feed.delete}
    made = []
    for number, (op, row) in enumerate(writes, 1):
        add[op](row)
        if number % BATCH == 0:
            made.append(feed.batch())
    return made


def documents(writes: Iterator[Write]) -> list[tuple[int, str]]:
    """The writes as JSON documents, one each."""
    return [(op, serializers.serialize("json", [row], fields=_columns(row))) for op, row in writes]


def _columns(row: Any) -> list[str]:
    return [f.name for f in row._meta.concrete_fields]


def fill(using: str, count: int) -> list[Choice]:
    """Rows that are there before: a measurement on empty tables flatters."""
    question = Question(text="Before?", published_at=timezone.now())
    question.save(using=using)
    rows = [Choice(question=question, text=f"Before {number}") for number in range(count)]
    with transaction.atomic(using=using):
        Choice.objects.using(using).bulk_create(rows, batch_size=5_000)
    return rows


def apply_single(using: str, written: Sequence[tuple[int, str]]) -> None:
    """Each record by itself, as the demo did that this project grew from."""
    for op, document in written:
        for found in serializers.deserialize("json", document, using=using):
            if op == DELETE:
                found.object.delete(using=using)
            else:
                found.save(using=using)


def rate(count: int, work: Callable[[], None]) -> float:
    """Records a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def shares(items: Sequence[Any], count: int) -> list[Sequence[Any]]:
    """The items in `count` equal runs."""
    size = len(items) // count
    return [items[number * size : (number + 1) * size] for number in range(count)]


def measure(using: str, arguments: argparse.Namespace) -> float:
    """Measure one database, the three ways in turn; returns the ratio of those that commit.

    Rounds and medians, so that another program on the machine spoils a round and not the result.
    """
    rows = fill(using, arguments.rows)
    half = len(rows) // 2
    feed = Feed()
    made = batches(feed, traffic(arguments.records, rows[:half], seed=1))
    written = documents(traffic(2 * arguments.single, rows[half:], seed=2))
    applier = feed.applier(using)
    fast: list[float] = []
    single: list[float] = []
    inside: list[float] = []
    turns = shares(made, ROUNDS), shares(written, 2 * ROUNDS)
    for mine, theirs, others in zip(turns[0], turns[1][::2], turns[1][1::2], strict=True):
        fast.append(rate(BATCH * len(mine), partial(apply_batches, applier, mine)))
        single.append(rate(len(theirs), partial(apply_single, using, theirs)))
        with transaction.atomic(using=using):
            inside.append(rate(len(others), partial(apply_single, using, others)))
    report(using, arguments, fast, single, inside)
    ratio: float = median(map(truediv, fast, single))
    return ratio


def apply_batches(applier: Applier, made: Sequence[Batch]) -> None:
    """The batches by the applier, as many at once as central takes from a full window."""
    for start in range(0, len(made), TOGETHER):
        applier.apply(made[start : start + TOGETHER])


def report(
    using: str,
    arguments: argparse.Namespace,
    fast: Sequence[float],
    single: Sequence[float],
    inside: Sequence[float],
) -> None:
    """Print the medians."""
    before = f"{arguments.records:,} records, {arguments.rows:,} rows before"
    print(f"{connections[using].vendor}: {before}")
    print(f"  the applier                                   {median(fast):10,.0f} records/s")
    for words, rates in (("a commit each         ", single), ("all in one transaction", inside)):
        ratio = median(map(truediv, fast, rates))
        print(f"  deserialize + save(), {words}  {median(rates):10,.0f}    {ratio:6.1f} x")


def prepared(databases: Databases, using: str) -> str:
    """A clean database that keeps what it commits."""
    databases.clean(using)
    if connections[using].vendor == "sqlite":
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA synchronous = FULL")
    return using


def main() -> int:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--single", type=int, default=4_000)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--database", action="append", choices=["central_sqlite", "central_pg"])
    arguments = parser.parse_args()
    databases = Databases()
    try:
        names = arguments.database or ["central_sqlite", "central_pg"]
        ratios = [measure(prepared(databases, using), arguments) for using in names]
    finally:
        databases.close()
    return 0 if min(ratios) >= WANTED else 1


if __name__ == "__main__":
    raise SystemExit(main())
