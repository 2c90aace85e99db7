"""The one workload of all measurements: a site that asks questions, from a fixed seed.

A round is a thousand records: 80 % inserts of questions and choices, 15 % updates and 5 % deletes
of choices. A choice points to its question by UUID. Two sites with the same seed write the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import F

ROUND = 1_000
REMEMBERED = 300_000
"""The newest choices, among which some change and go."""
QUESTIONS, CHOICES, UPDATES, DELETES = 80, 720, 150, 50
# Whole seconds: Django's JSON serializer would cut off the microseconds.
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Round:
    """A thousand records, as the site wrote them: rows as they were then."""

    inserted: list[models.Model] = field(default_factory=list)
    updated: list[models.Model] = field(default_factory=list)
    deleted: list[Any] = field(default_factory=list)


class Site:
    """Writes rounds into database `using`, and knows what is alive.

    `question` and `choice` are models with the fields of those of `polls`.
    """

    def __init__(
        self, using: str, question: type[models.Model], choice: type[models.Model], seed: int = 1
    ) -> None:
        self.using = using
        self._question = question
        self._choice = choice
        self._random = random.Random(seed)
        self._questions: list[models.Model] = []
        self._choices: list[Any] = []
        self._count = 0

    def fill(self, rounds: int) -> None:
        """What is there before: the inserts of so many rounds, in bulk."""
        for _ in range(rounds):
            self._insert(self._in_bulk)

    def write(self) -> Round:
        """Write a round in bulk, as quickly as the database takes it."""
        done = Round(self._insert(self._in_bulk), self._change(), self._remove())
        keys = [row.pk for row in done.updated]
        self._rows.filter(pk__in=keys).update(votes=F("votes") + 1)
        self._rows.filter(pk__in=[row.pk for row in done.deleted])._raw_delete(self.using)
        return done

    def save(self) -> Round:
        """Write a round row by row with `save()` and `delete()`, which send Django's signals."""
        done = Round(self._insert(self._one_by_one), self._change(), self._remove())
        self._one_by_one(done.updated)
        for row in done.deleted:
            row.delete(using=self.using)
        return done

    @property
    def _rows(self) -> models.QuerySet[Any]:
        return self._choice._default_manager.using(self.using)

    def _insert(self, put: Callable[[list[models.Model]], None]) -> list[models.Model]:
        questions = [self._ask() for _ in range(QUESTIONS)]
        put(questions)
        self._questions += questions
        choices = [self._offer() for _ in range(CHOICES)]
        put(choices)
        self._choices += choices
        del self._choices[:-REMEMBERED]
        return questions + choices

    def _ask(self) -> models.Model:
        self._count += 1
        at = _BEGIN + timedelta(seconds=self._count)
        text = f"Question {self._count}?"
        return self._question(id=self._key(), text=text, published_at=at)

    def _offer(self) -> models.Model:
        self._count += 1
        question = self._random.choice(self._questions)
        return self._choice(id=self._key(), question=question, text=f"Choice {self._count}")

    def _change(self) -> list[models.Model]:
        chosen = self._random.sample(self._choices, UPDATES)
        for choice in chosen:
            choice.votes += 1
        return chosen

    def _remove(self) -> list[models.Model]:
        gone = []
        for _ in range(DELETES):
            at = self._random.randrange(len(self._choices))
            self._choices[at], self._choices[-1] = self._choices[-1], self._choices[at]
            gone.append(self._choices.pop())
        return gone

    def _key(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)

    def _in_bulk(self, rows: list[models.Model]) -> None:
        type(rows[0])._default_manager.using(self.using).bulk_create(rows)

    def _one_by_one(self, rows: Iterable[models.Model]) -> None:
        for row in rows:
            row.save(using=self.using)
