"""The comparison that the demo and the fault tests rely on finds what differs, and only that."""

from __future__ import annotations

import math
import uuid
from typing import Any

import pytest
from django.apps import apps
from django.db.models import Model, Value
from django.db.models.fields.json import JSONField

from demo.compare import ABSENT, JSON_NULL, PORTION, PRESENT, Difference, compare, counts, same
from polls.models import Question, Tag
from tests.databases import Pair
from tests.zoo.models import Author, Essay, Everything, Generated, Hall, Seat

FIRST = uuid.UUID(int=1)
SECOND = uuid.UUID(int=2)


def test_equal_databases_have_no_differences(pair: Pair) -> None:
    for alias in (pair.site, pair.central):
        Everything.objects.using(alias).create(
            id=FIRST, decimal="1.5", binary=b"\x00\xff", json={"a": [1, None]}, float=0.1
        )
        Generated.objects.using(alias).create(id=FIRST, price=2, quantity=3)

    assert compare([Everything, Generated], pair.site, pair.central) == []


def test_a_field_that_differs_is_named(pair: Pair) -> None:
    for alias, text in ((pair.site, "one"), (pair.central, "two")):
        Everything.objects.using(alias).create(id=FIRST, text=text, integer=5)

    (found,) = compare([Everything], pair.site, pair.central)

    assert found == Difference("zoo.everything", (FIRST,), "text", "one", "two")
    assert str(found) == f"zoo.everything {FIRST}: text is 'one' at the site, 'two' at central"


def test_rows_of_one_end_are_named(pair: Pair) -> None:
    Tag.objects.using(pair.site).create(id=FIRST, name="site")
    Tag.objects.using(pair.central).create(id=SECOND, name="central")

    assert compare([Tag], pair.site, pair.central) == [
        Difference("polls.tag", (FIRST,), "", PRESENT, ABSENT),
        Difference("polls.tag", (SECOND,), "", ABSENT, PRESENT),
    ]


def test_null_in_json_is_not_null_in_sql(pair: Pair) -> None:
    Everything.objects.using(pair.site).create(id=FIRST, json=None)
    Everything.objects.using(pair.central).create(id=FIRST, json=Value(None, JSONField()))

    (found,) = compare([Everything], pair.site, pair.central)

    assert (found.field, found.site, found.central) == ("json", None, JSON_NULL)


def test_references_are_compared_by_the_key_they_point_to(pair: Pair) -> None:
    for alias, first in ((pair.site, FIRST), (pair.central, SECOND)):
        # The two authors have each other's integer key at the other end.
        authors = {
            key: Author.objects.using(alias).create(id=key, name="x")
            for key in sorted({FIRST, SECOND}, reverse=first == SECOND)
        }
        essay = Essay.objects.using(alias).create(id=FIRST, title="t", author=authors[FIRST])
        essay.readers.add(authors[SECOND])
    models: list[type[Model]] = [Author, Essay, Essay.readers.through]
    assert compare(models, pair.site, pair.central) == []

    Essay.objects.using(pair.central).update(author=authors[SECOND])

    (found,) = compare(models, pair.site, pair.central)
    assert found == Difference("zoo.essay", (FIRST,), "author__id", FIRST, SECOND)


def test_keys_of_two_parts(pair: Pair) -> None:
    for alias in (pair.site, pair.central):
        hall = Hall.objects.using(alias).create(id=FIRST, name="h")
        Seat.objects.using(alias).bulk_create(
            Seat(hall=hall, number=number) for number in range(PORTION + 5)
        )
    Seat.objects.using(pair.site).filter(number=7).update(taken=True)
    Seat.objects.using(pair.central).filter(number=PORTION + 2).delete()

    assert set(compare([Hall, Seat], pair.site, pair.central)) == {
        Difference("zoo.seat", (FIRST, 7), "taken", True, False),
        Difference("zoo.seat", (FIRST, PORTION + 2), "", PRESENT, ABSENT),
    }


def test_many_to_many_rows_are_named_by_both_ends(pair: Pair) -> None:
    for alias in (pair.site, pair.central):
        Question.objects.using(alias).create(
            id=FIRST, text="?", published_at="2026-01-01T00:00:00Z"
        )
        Tag.objects.using(alias).create(id=SECOND, name="t")
    Question.objects.using(pair.site).get().tags.add(Tag.objects.using(pair.site).get())

    (found,) = compare([Question.tags.through], pair.site, pair.central)

    assert found == Difference("polls.question_tags", (FIRST, SECOND), "", PRESENT, ABSENT)


def test_every_model_of_the_zoo_can_be_compared_and_counted(pair: Pair) -> None:
    models = list(apps.get_app_config("zoo").get_models(include_auto_created=True))

    assert compare(models, pair.site, pair.central) == []
    assert set(counts(models, pair.central).values()) == {0}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        ([1, {"a": math.nan}], [1, {"a": math.nan}], True),
        (1, 1.0, True),
        (True, 1, False),
        ({"a": 0}, {"a": False}, False),
        ([1], [1, 2], False),
        (None, JSON_NULL, False),
        (b"", None, False),
    ],
)
def test_same(one: Any, other: Any, alike: bool) -> None:
    assert same(one, other) is alike
    assert same(other, one) is alike
