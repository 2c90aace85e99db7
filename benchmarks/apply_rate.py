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
from pathlib import Path
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
from sockstream.wire.records import DELETE, INSERT, UPDATE, Batch  # noqa: E402
from tests.databases import Databases  # noqa: E402
from tests.integration.applier.feed import Feed  # noqa: E402

Write = tuple[int, Any]
BATCH = 1_000
TOGETHER = 10
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


def apply_together(using: str, feed: Feed, made: Sequence[Batch]) -> None:
    """The batches by the applier."""
    applier = feed.applier(using)
    for start in range(0, len(made), TOGETHER):
        applier.apply(made[start : start + TOGETHER])


def rate(count: int, work: Callable[[], None]) -> float:
    """Records a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def measure(databases: Databases, using: str, arguments: argparse.Namespace) -> float:
    """Measure one database; returns the ratio of the two ways that commit alike."""
    databases.clean(using)
    if connections[using].vendor == "sqlite":
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA synchronous = FULL")
    rows = fill(using, arguments.rows)
    feed = Feed()
    made = batches(feed, traffic(arguments.records, rows, seed=1))
    fast = rate(arguments.records, lambda: apply_together(using, feed, made))

    databases.clean(using)
    rows = fill(using, arguments.rows)
    written = documents(traffic(arguments.single, rows, seed=2))
    half = len(written) // 2
    single = rate(half, lambda: apply_single(using, written[:half]))
    with transaction.atomic(using=using):
        inside = rate(len(written) - half, lambda: apply_single(using, written[half:]))
    print(f"{connections[using].vendor}: {arguments.records:,} records, {arguments.rows:,} rows before")
    print(f"  the applier                                   {fast:10,.0f} records/s")
    print(f"  deserialize + save(), a commit each           {single:10,.0f}    {fast / single:6.1f} x")
    print(f"  deserialize + save(), all in one transaction  {inside:10,.0f}    {fast / inside:6.1f} x")
    return fast / single


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
        ratios = [measure(databases, using, arguments) for using in names]
    finally:
        databases.close()
    return 0 if min(ratios) >= WANTED else 1


if __name__ == "__main__":
    raise SystemExit(main())
