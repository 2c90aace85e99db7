"""The statements of each dialect, side by side: MySQL's are those of any other database too."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connections, models, transaction

from sockstream.receiver.applying.parts import Header, Part
from sockstream.receiver.applying.plans import compile_plan
from sockstream.receiver.applying.tables.claims import Claims
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.holdings import Holdings
from sockstream.receiver.applying.tables.memory import Memory
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.rows import describe
from sockstream.wire.records import DELETE, INSERT, UPDATE, Layout, segments
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Day, Essay, Everything, Hall, Parameter, Rate, Seat, Slot

MODELS = (Author, Essay, Everything, Hall, Parameter, Seat, Slot, Day, Rate)
READERS = Layout("zoo.essay_readers", ("essay", "author"), ())


@pytest.fixture(params=["central_sqlite", "central_pg", "central_maria"])
def using(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    databases.clean(request.param)
    yield request.param
    connections[request.param].close()


def writer_of(using: str) -> Writer:
    """A writer without a stream."""
    writer = Writer("site", "stream", using)
    writer.holdings = _NoHoldings("site", "stream", using)
    writer._claims = _NoClaims(
        "site", "stream", using, Memory(), writer.holdings, writer._references
    )
    return writer


def write(feed: Feed, using: str, writer: Writer | None = None) -> Meetings:
    """Write a feed's records without a stream and an offset."""
    allowed: dict[str, type[models.Model]] = {describe(model).label: model for model in MODELS}
    allowed[READERS.label] = Essay.readers.through
    (segment,) = segments(feed.batch())
    header = Header(segment.layouts, allowed, using)
    with transaction.atomic(using=using):
        return (writer or writer_of(using)).write(
            [Part(header, segment.first_seq, segment.records)]
        )


class _NoClaims(Claims):
    """Everybody may write here."""

    def claim(self, *_: object) -> None:
        pass

    def require_meaning(self, *_: object) -> None:
        pass

    def expect(self, *_: object) -> None:
        pass

    def share(self, *_: object) -> None:
        pass

    def judge(self, *_: object) -> int:
        return 0

    def kept_by_others(self, *_: object) -> set[Any]:
        return set()


class _NoHoldings(Holdings):
    """Nothing is noted, and no snapshot is taken."""

    def waits(self, label: str) -> bool:
        return False

    loads = waits

    def add(self, *_: object, all_new: bool = False) -> None:
        pass

    def remove(self, *_: object) -> None:
        pass


def test_insert_update_delete(using: str) -> None:
    feed = Feed()
    rows = [Parameter(name=f"row {number}", value=str(number)) for number in range(1_200)]
    assert write(feed.insert(*rows), using) == Meetings()
    rows[0].value = "changed"
    assert write(feed.update(rows[0]).delete(rows[1]), using) == Meetings()
    found = dict(Parameter.objects.using(using).values_list("name", "value"))
    assert len(found) == 1_199
    assert found["row 0"] == "changed"


def test_meetings(using: str) -> None:
    feed = Feed()
    slots = [Slot(position=number) for number in range(10)]
    write(feed.insert(*slots[:5]), using)
    assert write(feed.insert(*slots[4:7]), using) == Meetings(inserts_met=1)
    assert write(feed.update(*slots[6:9]), using) == Meetings(updates_missed=2)
    assert write(feed.delete(*slots[8:]), using) == Meetings(deletes_missed=1)
    assert write(feed.update(*slots[:3]), using) == Meetings()
    assert Slot.objects.using(using).count() == 8


def test_composite_keys_and_odd_ones(using: str) -> None:
    hall = Hall(name="main")
    seats = [Seat(hall=hall, number=number) for number in range(3)]
    feed = Feed()
    write(feed.insert(hall, *seats), using)
    assert write(feed.insert(seats[1]).update(seats[2]), using) == Meetings(inserts_met=1)
    assert write(feed.delete(*seats), using) == Meetings()
    rate = Layout("zoo.rate", ("percent",), ("note",))
    day = Layout("zoo.day", ("date",), ("note",))
    for op in (INSERT, UPDATE):
        feed.raw(op, rate, ["1.250", "a"]).raw(op, day, ["2026-01-02", "a"])
        assert write(feed, using) == Meetings()
    assert Day.objects.using(using).get().note == "a"
    write(feed.raw(DELETE, rate, ["1.250"]).raw(DELETE, day, ["2026-01-02"]), using)
    assert not Rate.objects.using(using).exists()
    assert not Day.objects.using(using).exists()


def test_local_keys(using: str) -> None:
    author, essay = Author(pkid=1, name="a"), Essay(pkid=1, title="t")
    essay.author = author
    Author.objects.using(using).create(name="before")
    feed = Feed().insert(author, essay)
    write(feed.raw(INSERT, READERS, [essay.id.bytes, author.id.bytes]), using)
    found = Essay.objects.using(using).get()
    assert found.author.id == author.id
    assert found.readers.get() == found.author


def test_fields(using: str) -> None:
    from tests.integration.applier.test_fields import EVERYTHING, given, has, stored

    rows = [Everything(uuid=uuid.uuid4())]
    for name, values in EVERYTHING.items():
        for value in values:
            if has(using, value):
                rows.append(Everything(**{name: value}))
    feed = Feed()
    write(feed.insert(*rows), using)
    for row in rows:
        assert stored(row, using) == given(row)
    write(feed.update(*rows), using)
    assert stored(rows[0], using) == given(rows[0])


def test_rows_make_way(using: str) -> None:
    """Where nothing points to them, also on a database that looks at foreign keys at once."""
    slots = [Slot(position=n, name=str(n)) for n in range(7)]
    write(Feed().insert(*slots), using)
    writer = writer_of(using)
    for slot, position in zip(slots, (1, 0, 3, 4, 2, 9, 6), strict=True):
        slot.position = position
    with pytest.raises(IntegrityError):
        write(Feed().update(*slots), using, writer)
    write(Feed().update(*slots), using, writer)
    found = set(Slot.objects.using(using).values_list("id", "position", "name"))
    assert found == {(slot.id, slot.position, slot.name) for slot in slots}


def test_which_rows_are_not_as_they_were_sent(using: str) -> None:
    """One that is not there, and one that is not the same, a NULL included."""
    slots = [Slot(position=n, name=str(n)) for n in range(4)]
    slots[2].position = None
    write(Feed().insert(*slots[:3]), using)
    columns: list[Any] = [
        [slot.id.bytes for slot in slots],
        [slot.position for slot in slots],
        [slot.name for slot in slots],
    ]
    plan = compile_plan(using, Slot, Layout("zoo.slot", ("id",), ("position", "name")))
    with connections[using].cursor() as cursor:
        assert plan.statements.missing(cursor, columns) == [3]
        columns[1] = [0, None, None, 3]
        columns[2] = ["0", "1", "other", "3"]
        assert plan.statements.missing(cursor, columns) == [1, 2, 3]


@pytest.mark.parametrize("count", [1, 600])
def test_keys_of_two_parts_are_found_together(using: str, count: int) -> None:
    hall = Hall(name="hall")
    seats = [Seat(hall=hall, number=n) for n in range(0, count * 2, 2)]
    write(Feed().insert(hall, *seats), using)
    plan = compile_plan(using, Seat, Layout("zoo.seat", ("hall", "number"), ("taken",)))
    numbers = list(range(count * 2))
    with connections[using].cursor() as cursor:
        found = plan.statements.find(cursor, [[hall.id.bytes] * len(numbers), numbers])
    assert [number for number, there in zip(numbers, found, strict=True) if there is not None] == [
        seat.number for seat in seats
    ]
