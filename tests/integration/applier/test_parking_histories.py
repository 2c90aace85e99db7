"""Any history with records that central cannot take: what is not parked is as at the site.

The site keeps its own constraints. At central, strangers hold unique values that the site will
want, names are unique without the site's knowing, and one category is never sent.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import connections, models
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockstream.receiver import parked
from sockstream.receiver.applying.applier import Applier, Retry
from sockstream.receiver.models import Offset, Parked
from sockstream.wire.records import Batch
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Category, Comment, Essay, Slot

ROWS = 3
TAKEN = "taken"
HELD = 100
UNSENT = uuid.UUID(int=4711)
STRANGERS = {Author: uuid.UUID(int=1001), Category: uuid.UUID(int=1002), Slot: uuid.UUID(int=1003)}

Values = tuple[Any, ...]
Key = tuple[type[models.Model], uuid.UUID]


@dataclass
class Site:
    """The rows of a site, as they would be compared: references by the keys of their rows."""

    feed: Feed = field(default_factory=Feed)
    rows: dict[Key, Values] = field(default_factory=dict)
    count: int = 0
    unsent: int = 0

    def put(self, kind: int, number: int, other: int, poison: bool) -> None:
        """Insert or update a row, if the site's own constraints allow it."""
        model = KINDS[kind % len(KINDS)]
        key = model, _id(kind % len(KINDS), number)
        self.count += 1
        values = VALUES[model](self, other, poison)
        if values is None or (poison and self._taken(key, values)):
            return
        known = key in self.rows
        self.rows[key] = values
        (self.feed.update if known else self.feed.insert)(self.instance(key))
        self.unsent += 1

    def _taken(self, key: Key, values: Values) -> bool:
        return any(
            other != key and other[0] is key[0] and row[0] == values[0]
            for other, row in self.rows.items()
        )

    def remove(self, kind: int, number: int) -> None:
        """Delete a row that nobody refers to."""
        model = KINDS[kind % len(KINDS)]
        key = model, _id(kind % len(KINDS), number)
        if key in self.rows and not any(key[1] in row for row in self.rows.values()):
            self.feed.delete(self.instance(key))
            self.unsent += 1
            del self.rows[key]

    def pick(self, model: type[models.Model], number: int) -> uuid.UUID | None:
        """The key of one of the rows of a model, if there is one."""
        keys = sorted(key for of, key in self.rows if of is model)
        return keys[number % len(keys)] if keys else None

    def instance(self, key: Key) -> models.Model:
        """A row as the feed wants it: with instances behind its references."""
        model, pk = key
        values = self.rows[key]
        match model():
            case Author():
                mentor = Author(pkid=1, id=values[1]) if values[1] else None
                return Author(pkid=1, id=pk, name=values[0], mentor=mentor)
            case Essay():
                return Essay(pkid=1, id=pk, title=values[0], author=Author(pkid=1, id=values[1]))
            case Category():
                return Category(id=pk, name=values[0], parent_id=values[1])
            case Comment():
                essay = Essay(pkid=1, id=values[1])
                return Comment(id=pk, text=values[0], essay=essay, author_id=values[2])
        return Slot(id=pk, position=values[0], name=values[1])


def _id(kind: int, number: int) -> uuid.UUID:
    return uuid.UUID(int=10 * (kind + 1) + number)


def _author(site: Site, other: int, poison: bool) -> Values:
    mentor = site.pick(Author, other) if other % 2 else None
    return (TAKEN if poison else f"author {site.count}", mentor)


def _essay(site: Site, other: int, poison: bool) -> Values | None:
    author = site.pick(Author, other)
    return None if author is None else (f"essay {site.count}", author)


def _category(site: Site, other: int, poison: bool) -> Values:
    if poison and other % 2:
        return (f"orphan {site.count}", UNSENT)
    parent = site.pick(Category, other) if other % 3 else None
    return (TAKEN if poison else f"category {site.count}", parent)


def _comment(site: Site, other: int, poison: bool) -> Values | None:
    essay, author = site.pick(Essay, other), site.pick(Author, other + 1)
    return None if essay is None else (f"comment {site.count}", essay, author)


def _slot(site: Site, other: int, poison: bool) -> Values:
    return (HELD if poison else 1_000 + site.count, f"slot {site.count}")


KINDS: list[type[models.Model]] = [Author, Essay, Category, Comment, Slot]
VALUES: dict[type[models.Model], Callable[[Site, int, bool], Values | None]] = {
    Author: _author,
    Essay: _essay,
    Category: _category,
    Comment: _comment,
    Slot: _slot,
}
COLUMNS: dict[type[models.Model], tuple[str, ...]] = {
    Author: ("name", "mentor__id"),
    Essay: ("title", "author__id"),
    Category: ("name", "parent_id"),
    Comment: ("text", "essay__id", "author_id"),
    Slot: ("position", "name"),
}


def at_central(using: str) -> dict[Key, Values]:
    """Central's rows, without the strangers."""
    strange = {*STRANGERS.values(), UNSENT}
    return {
        (model, row[0]): row[1:]
        for model in KINDS
        for row in model._default_manager.using(using).values_list("id", *COLUMNS[model])
        if row[0] not in strange
    }


@dataclass
class Central:
    """Applies what the feed made, as a link would: again from the offset after a failure."""

    using: str
    site: Site
    applier: Applier | None = None
    waiting: list[Batch] = field(default_factory=list)

    def take(self, *, goes_on: bool) -> None:
        """The batch of what the site has written since the last one."""
        if self.site.unsent:
            self.site.unsent = 0
            self.waiting.append(self.site.feed.batch(open=goes_on))
        if not goes_on:
            self.deliver()

    def deliver(self) -> None:
        for _ in range(4):
            applier = self.applier = self.applier or self.site.feed.applier(self.using)
            try:
                for batch in self.waiting:
                    applier.apply([batch])
            except Retry:
                self.applier = None
            else:
                self.waiting.clear()
                return
        raise AssertionError("tried again and again")

    def check(self) -> None:
        """What has no parked record is as at the site, and every record is somewhere."""
        if not self.site.feed.seq:
            return
        offset = Offset.objects.using(self.using).get()
        rows = Parked.objects.using(self.using).values_list("model", "key")
        aside = {(model, uuid.UUID(key)) for model, key in rows}
        assert offset.parked == len(rows)
        assert offset.seq == self.site.feed.seq
        assert offset.records_applied + offset.parked == offset.seq
        assert self._without(at_central(self.using), aside) == self._without(self.site.rows, aside)

    def _without(
        self, rows: dict[Key, Values], aside: set[tuple[str, uuid.UUID]]
    ) -> dict[Key, Values]:
        return {
            (model, key): values
            for (model, key), values in rows.items()
            if (model._meta.label_lower, key) not in aside
        }


@pytest.fixture
def strict(central: str) -> Iterator[str]:
    """Central, where names are unique until the test is over."""
    tables = ("zoo_author", "zoo_category")
    with connections[central].cursor() as cursor:
        for table in tables:
            cursor.execute(f"CREATE UNIQUE INDEX {table}_strict ON {table} (name)")
    yield central
    with connections[central].cursor() as cursor:
        for table in tables:
            of = f" ON {table}" if cursor.db.vendor == "mysql" else ""
            cursor.execute(f"DROP INDEX {table}_strict{of}")


def strangers(using: str) -> None:
    """What somebody wrote at central."""
    Author.objects.using(using).create(id=STRANGERS[Author], name=TAKEN)
    Category.objects.using(using).create(id=STRANGERS[Category], name=TAKEN)
    Slot.objects.using(using).create(id=STRANGERS[Slot], position=HELD)


def mend(using: str) -> None:
    """The strangers go, and what was missing is there."""
    for model, pk in STRANGERS.items():
        model._default_manager.using(using).filter(id=pk).delete()
    Category.objects.using(using).create(id=UNSENT, name="given")


number = st.integers(0, ROWS - 1)
write = st.tuples(st.integers(0, len(KINDS) - 1), number, st.integers(0, 5), st.booleans())
group = st.lists(write | st.tuples(st.integers(0, len(KINDS) - 1), number), min_size=2, max_size=10)
step = st.tuples(
    st.lists(group, min_size=1, max_size=3),
    st.sampled_from(["", "", "", "open", "open", "crash", "restart", "retry", "free"]),
)


def _write(site: Site, writes: list[tuple[Any, ...]]) -> None:
    for each in writes:
        (site.put if len(each) == 4 else site.remove)(*each)


def _step(central: Central, groups: list[list[tuple[Any, ...]]], event: str) -> None:
    site = central.site
    for writes in groups:
        _write(site, writes)
        site.feed.end()
    if event in ("open", "crash"):
        _open_group(central, groups[0], crash=event == "crash")
    central.take(goes_on=False)
    if event == "restart":
        central.applier = None
    if event == "retry":
        parked.retry(central.using)
    if event == "free":
        Slot.objects.using(central.using).filter(id=STRANGERS[Slot]).delete()


def _open_group(central: Central, writes: list[tuple[Any, ...]], *, crash: bool) -> None:
    """The last group goes on in the next batch; perhaps its site comes back in between, and sends
    the first part again."""
    site = central.site
    site.put(4, 0, 0, False)
    central.take(goes_on=True)
    if crash:
        site.feed.applier(central.using).apply(central.waiting)
        central.applier = None
    _write(site, writes)
    site.put(4, 1, 0, False)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(step, min_size=2, max_size=7))
def test_what_is_not_parked_is_as_at_the_site(
    strict: str, databases: Databases, steps: list[tuple[list[list[tuple[Any, ...]]], str]]
) -> None:
    databases.clean(strict)
    strangers(strict)
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": "park"}):
        central = Central(strict, Site())
        for groups, event in steps:
            _step(central, groups, event)
            central.check()
        mend(strict)
        outcome = parked.retry(strict)
        assert [(row.seq, row.model, row.error) for row in outcome.parked] == []
        central.check()
    assert at_central(strict) == central.site.rows
    assert not Parked.objects.using(strict).exists()
