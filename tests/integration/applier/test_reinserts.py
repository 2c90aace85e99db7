"""Rows that are deleted and inserted again in one transaction keep their numbers, however the
records are cut: what points to them is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connections, models, transaction
from django.test import override_settings

from sockstream.receiver.applying.applier import Applier, Retry
from sockstream.receiver.applying.parts import Header, Part
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import HeldRow, Holding, Owner, Reserved
from sockstream.rows import describe
from sockstream.wire.records import DELETE, INSERT, SAVE, UPDATE, Layout, segments
from tests.heirs.models import Heir, Portrait
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Essay, Parameter

HEIR = Layout("heirs.heir", ("id",), ("follows",))
PORTRAIT = Layout("heirs.portrait", ("id",), ("shows",))
AUTHOR = Layout("zoo.author", ("id",), ("name", "mentor"))

MODELS: Sequence[type[models.Model]] = (Heir, Portrait, Author, Essay, Parameter)


@pytest.fixture(autouse=True)
def heirs_too(central: str) -> Iterator[None]:
    with override_settings(SOCKSTREAM={"MODELS": ["zoo", "heirs"]}):
        yield
    with connections[central].constraint_checks_disabled():
        Portrait.objects.using(central).all().delete()
        Heir.objects.using(central).all().delete()


class Whole:
    """One transaction of central's, in which a feed's records are written a part at a time."""

    def __init__(self, using: str) -> None:
        Feed().opened(using)
        self._using = using
        self._allowed = {describe(model).label: model for model in MODELS}
        self.writer = Writer("site-a", "default", using)

    def write(self, *feeds: Feed) -> None:
        with transaction.atomic(using=self._using, durable=True):
            with connections[self._using].cursor() as cursor:
                dialect(self._using).defer_constraints(cursor)
            for feed in feeds:
                (segment,) = segments(feed.batch())
                header = Header(segment.layouts, self._allowed, self._using)
                self.writer.write([Part(header, segment.first_seq, segment.records)])
            self.writer.finish()
        dialect(self._using).look_again(connections[self._using])
        self.writer.committed()


def record(op: int, layout: Layout, *values: Any) -> Feed:
    return Feed().raw(op, layout, values)


def author(row: Author, op: int = INSERT) -> Feed:
    return record(op, AUTHOR, row.id.bytes, row.name, None)


def gone(layout: Layout, row: Any) -> Feed:
    return record(DELETE, layout, row.id.bytes)


@pytest.mark.parametrize("op", [INSERT, SAVE, UPDATE])
def test_a_foreign_key_with_a_constraint(op: int, central: str) -> None:
    row, whole = Author(pkid=1, name="before"), Whole(central)
    whole.write(author(row), Feed().insert(Essay(title="stays", author=row)))
    row.name = "after"
    whole.write(gone(AUTHOR, row), Feed().insert(Parameter(name="between")), author(row, op))
    assert Essay.objects.using(central).get().author.name == "after"
    assert not Reserved.objects.using(central).exists()


def test_a_foreign_key_without_a_constraint(central: str) -> None:
    row, whole = Heir(), Whole(central)
    heir = record(INSERT, HEIR, row.id.bytes, row.id.bytes)
    whole.write(heir, record(INSERT, PORTRAIT, b"p" * 16, row.id.bytes))
    whole.write(gone(HEIR, row), record(INSERT, HEIR, row.id.bytes, row.id.bytes))
    assert Portrait.objects.using(central).get().shows.id == row.id


def test_twice_and_with_a_row_that_points_to_it_meanwhile(central: str) -> None:
    row, whole = Author(pkid=1, name="first"), Whole(central)
    whole.write(author(row), Feed().insert(Essay(title="old", author=row)))
    more = Feed().insert(Essay(title="new", author=row))
    whole.write(gone(AUTHOR, row), more, author(row), gone(AUTHOR, row), author(row))
    written = Essay.objects.using(central).filter(author__name="first")
    assert sorted(written.values_list("title", flat=True)) == ["new", "old"]


def test_a_row_that_does_not_come_again_leaves_nothing_behind(central: str) -> None:
    row, other, whole = Heir(), Heir(), Whole(central)
    follows = [record(INSERT, HEIR, each.id.bytes, each.id.bytes) for each in (row, other)]
    whole.write(*follows, record(INSERT, PORTRAIT, b"p" * 16, row.id.bytes))
    number = Heir.objects.using(central).get(id=row.id).pkid
    whole.write(gone(HEIR, row), record(UPDATE, HEIR, other.id.bytes, other.id.bytes))
    assert Portrait.objects.using(central).get().shows_id == number
    assert not Reserved.objects.using(central).exists()
    # In another transaction, it is another row.
    whole.write(record(INSERT, HEIR, row.id.bytes, row.id.bytes))
    assert Heir.objects.using(central).get(id=row.id).pkid != number


@pytest.mark.parametrize("op", [INSERT, SAVE])
def test_a_number_that_was_drawn_twice_for_one_row(op: int, central: str) -> None:
    """As in a snapshot that was killed, and is taken again in the same group."""
    row, whole = Author(pkid=1, name="late"), Whole(central)
    early = Feed().insert(Essay(title="early", author=row))
    whole.write(early, author(row, op), gone(AUTHOR, row), author(row, op))
    assert Essay.objects.using(central).get().author.name == "late"


def lose_the_answer(using: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next COMMIT fails: nothing of the transaction is left."""
    connection: Any = connections[using]

    def commit() -> None:
        monkeypatch.undo()
        connection._rollback()
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(connection, "_commit", commit)


@pytest.mark.parametrize("cut", [False, True])
def test_an_applier_whose_commit_fails_forgets_what_it_made(
    cut: bool, central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets the same batches again."""
    feed = Feed()
    applier: Applier = feed.applier(central)
    heir = Heir()
    applier.apply([feed.insert(Parameter(name="before")).batch()])
    feed.raw(INSERT, HEIR, [heir.id.bytes, heir.id.bytes])
    batch = replace(feed.raw(INSERT, PORTRAIT, [b"p" * 16, heir.id.bytes]).batch(), cut=cut)
    lose_the_answer(central, monkeypatch)
    with pytest.raises(Retry):
        applier.apply([batch])
    monkeypatch.undo()
    applier.apply([batch])
    assert Portrait.objects.using(central).get().shows.id == heir.id
    holdings = set(Holding.objects.using(central).values_list("pk", flat=True))
    assert {row.holding for row in HeldRow.objects.using(central)} <= holdings
    assert Owner.objects.using(central).filter(model="zoo.parameter").exists()
