"""The site's application: it writes into polls in every way that Django has, until stdin ends.

`python -m demo.traffic`, with the site's settings, is a process of its own that knows nothing of
sockstream. In the end it prints what it did as JSON: how often each way was taken.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import django
from django.db import connection, transaction

from demo.processes import wait_or_end

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sender.settings")
django.setup()

from django.db.models import F  # noqa: E402
from django.utils import timezone  # noqa: E402

from polls.models import Choice, Question, Tag  # noqa: E402

PAUSE = 0.01
MOST_QUESTIONS = 200
WORDS = (
    "tea",
    "coffee",
    "cake",
    "Käse",
    "寿司",
    "crème brûlée",
    "naïve",
    "🍵",
    "it's",
    'a "b"',
    "\\",
)


class Undone(Exception):
    """Rolls a transaction back."""


class Traffic:
    """Writes of every kind, one transaction or more each."""

    def __init__(self, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._number = 0
        self._ways: dict[str, Callable[[], object]] = {
            "save": self._save,
            "bulk_create": self._bulk_create,
            "bulk_update": self._bulk_update,
            "update": self._update,
            "delete with cascades": self._delete,
            "get_or_create": self._get_or_create,
            "update_or_create": self._update_or_create,
            "m2m add": self._m2m_add,
            "m2m remove": self._m2m_remove,
            "m2m set": self._m2m_set,
            "m2m clear": self._m2m_clear,
            "raw SQL": self._raw_sql,
            "rollback": self._rollback,
            "savepoint rollback": self._savepoint_rollback,
        }

    def begin(self) -> None:
        """What the rest needs: some tags, and a question."""
        Tag.objects.bulk_create(Tag(name=word) for word in WORDS)
        self._bulk_create()

    def step(self) -> None:
        """One write, of each kind in turn before any comes again."""
        fewest = min(self.done[way] for way in self._ways)
        way = self._random.choice([way for way in self._ways if self.done[way] == fewest])
        self._ways[way]()
        self.done[way] += 1

    def _save(self) -> None:
        question = self._new_question()
        question.save()
        question.text += "!"
        question.closed = True
        question.save(update_fields=["text", "closed"])

    def _bulk_create(self) -> None:
        with transaction.atomic():
            questions = Question.objects.bulk_create(self._new_question() for _ in range(10))
            Choice.objects.bulk_create(
                Choice(question=question, text=word, votes=self._random.randint(0, 9))
                for question in questions
                for word in self._random.sample(WORDS, 4)
            )

    def _bulk_update(self) -> None:
        choices = list(self._question().choices.all())
        for choice in choices:
            choice.votes += 1
        Choice.objects.bulk_update(choices, ["votes"])

    def _update(self) -> None:
        some = Question.objects.order_by("?").values("pk")[:10]
        Choice.objects.filter(question__in=some).update(votes=F("votes") + 1)

    def _delete(self) -> None:
        surplus = max(1, Question.objects.count() - MOST_QUESTIONS)
        for question in Question.objects.order_by("published_at")[:surplus]:
            question.delete()

    def _get_or_create(self) -> None:
        Tag.objects.get_or_create(name=f"tag {self._random.randint(1, 30)}")

    def _update_or_create(self) -> None:
        Choice.objects.update_or_create(
            question=self._question(), text="something else", defaults={"votes": self._next()}
        )

    def _m2m_add(self) -> None:
        self._question().tags.add(*self._tags())

    def _m2m_remove(self) -> None:
        self._question().tags.remove(*self._tags())

    def _m2m_set(self) -> None:
        self._question().tags.set(self._tags())

    def _m2m_clear(self) -> None:
        self._question().tags.clear()

    def _raw_sql(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE polls_choice SET votes = votes + 1 WHERE votes < %s", [3])

    def _rollback(self) -> None:
        try:
            with transaction.atomic():
                self._bulk_create()
                Choice.objects.update(text="never to be seen")
                raise Undone
        except Undone:
            pass

    def _savepoint_rollback(self) -> None:
        with transaction.atomic():
            question = self._new_question()
            question.save()
            try:
                with transaction.atomic():
                    question.choices.create(text="never to be seen")
                    raise Undone
            except Undone:
                question.choices.create(text="seen")

    def _new_question(self) -> Question:
        number = self._next()
        # No two alike, so that the oldest is always the same one.
        moment = timezone.now() + timedelta(microseconds=number)
        word = self._random.choice(WORDS)
        return Question(text=f"{number}: {word}, or what else?", published_at=moment)

    def _question(self) -> Question:
        return self._random.choice(Question.objects.all())

    def _tags(self) -> list[Tag]:
        return self._random.sample(list(Tag.objects.all()), 3)

    def _next(self) -> int:
        self._number += 1
        return self._number


def main() -> int:
    """Write until stdin ends."""
    traffic = Traffic(seed=int(sys.argv[1]))
    traffic.begin()
    while not wait_or_end(PAUSE, sys.stdin):
        traffic.step()
    print(json.dumps(traffic.done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
