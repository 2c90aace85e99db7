"""The workload of all measurements through the bare driver: for backlogs of millions."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import connections

from benchmarks.peers.ways import CHOICES as CHOICE
from benchmarks.peers.ways import QUESTIONS as QUESTION
from benchmarks.peers.ways import Row, SQLite, Unnest, Way
from benchmarks.workload import CHOICES, DELETES, QUESTIONS, REMEMBERED, ROUND, UPDATES

# The writing is not what is measured, and a backlog of millions would take longer than all else.
_QUICK = "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = 50000; PRAGMA cache_size = -1000000"


class BulkSite:
    """Writes rounds into the tables of `polls` in database `using`, each in one transaction.

    As `workload.Site`: the same shares of inserts, updates and deletes, from a fixed seed, several
    times as fast. Close it at the end.
    """

    def __init__(self, using: str) -> None:
        self._random = random.Random(1)
        self._count = 0
        self._questions: list[Any] = []
        self._choices: list[Row] = []
        database = connections[using].settings_dict
        self._way: Way
        self._at: Any
        self._key: Callable[[int], Any]
        if connections[using].vendor == "sqlite":
            self._way = way = SQLite(str(database["NAME"]))
            way.connection.executescript(_QUICK)
            self._at, self._key = "2026-01-01 00:00:00", "{:032x}".format
        else:
            address = {key: database[key.upper()] for key in ("host", "port", "user")}
            connection = psycopg.connect(dbname=database["NAME"], autocommit=True, **address)
            self._way, self._at = Unnest(connection), datetime(2026, 1, 1, tzinfo=UTC)
            self._key = lambda bits: UUID(int=bits)

    def write(self, records: int) -> None:
        """So many records, a whole number of rounds; on SQLite they leave nothing in the WAL."""
        for _ in range(records // ROUND):
            self._way.begin()
            questions = [self._ask() for _ in range(QUESTIONS)]
            self._questions += [row[0] for row in questions]
            self._way.put(QUESTION, questions)
            choices = [self._offer() for _ in range(CHOICES)]
            self._choices += choices
            del self._choices[:-REMEMBERED]
            self._way.put(CHOICE, choices)
            self._way.put(CHOICE, self._change())
            self._way.remove(CHOICE, [self._take_one()[0] for _ in range(DELETES)])
            self._way.commit()
        if isinstance(self._way, SQLite):
            self._way.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the connection."""
        self._way.close()

    def _ask(self) -> Row:
        self._count += 1
        return self._draw_key(), f"Question {self._count}?", self._at, False

    def _offer(self) -> Row:
        self._count += 1
        question = self._random.choice(self._questions)
        return self._draw_key(), question, f"Choice {self._count}", 0

    def _change(self) -> list[Row]:
        places = self._random.sample(range(len(self._choices)), UPDATES)
        for at in places:
            *same, votes = self._choices[at]
            self._choices[at] = (*same, votes + 1)
        return [self._choices[at] for at in places]

    def _take_one(self) -> Row:
        at = self._random.randrange(len(self._choices))
        self._choices[at], self._choices[-1] = self._choices[-1], self._choices[at]
        return self._choices.pop()

    def _draw_key(self) -> Any:
        # The version and variant of a random UUID.
        bits = self._random.getrandbits(128) & ~(0xF << 76 | 0x3 << 62)
        return self._key(bits | 4 << 76 | 2 << 62)
