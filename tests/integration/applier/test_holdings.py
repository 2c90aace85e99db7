"""What is noted of the rows that a stream has brought, when an attempt to write is rolled back."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import HeldRow, Holding, Offset
from sockstream.wire.records import BEGIN, DELETE, END, INSERT, LOAD, SAVE, UPDATE, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Bounded, Essay, Slot

BOUNDED = Layout("zoo.bounded", ("id",), ("low", "high"))
SLOT = Layout("zoo.slot", ("id",), ("name", "position"))


def test_a_row_is_noted_under_a_holding_that_is_there(central: str) -> None:
    """The fast way fails, and with it goes the holding that it made."""
    one, other, new = (Slot(name=name) for name in ("one", "other", "new"))
    one.position, other.position = 0, 1
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, other).batch()])
    HeldRow.objects.using(central).all().delete()
    Holding.objects.using(central).all().delete()
    applier = feed.applier(central)
    one.position = None
    feed.update(one)
    other.position = 0
    feed.update(other)
    one.position = 1
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ADOPT": True}):
        feed.applier(central).apply([feed.update(one).insert(new).batch()])
    assert Slot.objects.using(central).get(name="one").position == 1
    holding = Holding.objects.using(central).get(model="zoo.slot")
    held = set(HeldRow.objects.using(central).values_list("holding", "name"))
    assert held == {(holding.pk, slot.pk) for slot in (one, other, new)}


def test_rows_that_central_has_lost_come_again(central: str) -> None:
    """They are noted already, though no statement meets them; it takes one more attempt."""
    slots = [Slot(name=f"slot {number}") for number in range(500)]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*slots).batch()])
    Slot.objects.using(central).all().delete()
    with CaptureQueriesContext(connections[central]) as asked:
        applier.apply([feed.insert(*slots).batch()])
    assert len(asked) < 20
    assert Slot.objects.using(central).count() == len(slots)
    assert HeldRow.objects.using(central).count() == len(slots)
    assert Offset.objects.using(central).get().inserts_met == 0


def test_what_precedes_a_snapshot_that_fails_is_written(central: str) -> None:
    """Its rows come as they are later only once the snapshot has begun for good."""
    feed = Feed()
    feed.applier(central).apply([feed.insert(Slot(name="first"), Bounded()).batch()])
    feed.insert(Slot(name="before")).end()
    feed.raw(BEGIN, BOUNDED, ()).raw(BEGIN, SLOT, ()).raw(LOAD, BOUNDED, ())
    feed.raw(SAVE, BOUNDED, (Bounded().pk.bytes, 9, 1))
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert (stopped.value.model, stopped.value.seq) == ("zoo.bounded", feed.seq)
    names = Slot.objects.using(central).order_by("name").values_list("name", flat=True)
    assert list(names) == ["before", "first"]


@pytest.mark.parametrize(
    "live", [[], [INSERT], [UPDATE], [DELETE, INSERT], [DELETE, INSERT, UPDATE]]
)
@pytest.mark.parametrize("saved_first", [False, True])
def test_a_row_that_a_snapshot_brings_stays(
    live: list[int], saved_first: bool, central: str
) -> None:
    """Whatever is captured of it beside its own record, in whatever order."""
    feed, slot = Feed(), Slot(name="kept", position=1)
    applier = feed.applier(central)
    if live != [INSERT]:
        applier.apply([feed.insert(slot).batch()])
    values = slot.pk.bytes, slot.name, slot.position
    feed.raw(BEGIN, SLOT, ()).raw(LOAD, SLOT, ())
    ops = [SAVE, *(live if live != [INSERT] else [])] if saved_first else [*live, SAVE]
    for op in ops:
        feed.raw(op, SLOT, values[:1] if op == DELETE else values)
    applier.apply([feed.raw(END, SLOT, ()).batch()])
    assert Slot.objects.using(central).get() == slot
    holding = Holding.objects.using(central).get(model="zoo.slot")
    held = HeldRow.objects.using(central).get()
    assert (held.name, held.generation) == (slot.pk, holding.generation)


def test_a_row_that_is_gone_again_when_a_snapshot_ends(central: str) -> None:
    feed, slot = Feed(), Slot(name="gone", position=1)
    applier = feed.applier(central)
    applier.apply([feed.insert(slot).batch()])
    feed.raw(BEGIN, SLOT, ()).raw(LOAD, SLOT, ())
    feed.raw(SAVE, SLOT, (slot.pk.bytes, "gone", 1)).raw(DELETE, SLOT, (slot.pk.bytes,))
    applier.apply([feed.raw(END, SLOT, ()).batch()])
    assert not Slot.objects.using(central).exists()
    assert not HeldRow.objects.using(central).exists()


def test_a_key_that_is_no_uuid_is_noted_by_its_digest(databases: Databases) -> None:
    """SQLite stores what a site's own SQL has put there."""
    using = "central_sqlite"
    databases.clean(using)
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.raw(INSERT, SLOT, ("no uuid", "odd", 1)).batch()])
    assert HeldRow.objects.using(using).get().key is not None
    feed.raw(BEGIN, SLOT, ()).raw(LOAD, SLOT, ()).raw(END, SLOT, ())
    applier.apply([feed.batch()])
    with connections[using].cursor() as cursor:
        assert cursor.execute("SELECT count(*) FROM zoo_slot").fetchone() == (0,)


AUTHOR = Layout("zoo.author", ("id",), ("name", "mentor"))
ESSAY = Layout("zoo.essay", ("id",), ("title", "author", "editor"))
READERS = Layout("zoo.essay_readers", ("essay", "author"), ())


def read(feed: Feed, reader: Author, essay: Essay, op: int = INSERT) -> Feed:
    """A row whose key is made of what central numbers by itself."""
    return feed.raw(op, READERS, (essay.id.bytes, reader.id.bytes))


def readers(using: str) -> list[str]:
    return [reader.name for reader in Essay.objects.using(using).get().readers.all()]


def test_a_row_goes_although_what_its_key_names_is_gone_before_a_snapshot_ends(
    central: str,
) -> None:
    """Its delete came before its model's rows, and that of the other row after those of its own."""
    writer, reader = Author(pkid=1, name="writer"), Author(pkid=2, name="reader")
    essay = Essay(pkid=1, title="read", author=writer)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([read(feed.insert(writer, reader, essay), reader, essay).batch()])
    for layout in (AUTHOR, ESSAY, READERS):
        feed.raw(BEGIN, layout, ())
    feed.raw(LOAD, AUTHOR, ()).raw(SAVE, AUTHOR, (writer.id.bytes, "writer", None))
    read(feed, reader, essay, DELETE).delete(reader)
    feed.raw(LOAD, ESSAY, ()).raw(SAVE, ESSAY, (essay.id.bytes, "read", writer.id.bytes, None))
    feed.raw(LOAD, READERS, ())
    for layout in (READERS, ESSAY, AUTHOR):
        feed.raw(END, layout, ())
    applier.apply([feed.batch()])
    assert readers(central) == []
    assert Author.objects.using(central).get().name == "writer"
    offset = Offset.objects.using(central).get()
    assert (offset.seq, offset.deletes_missed) == (feed.seq, 0)


def test_a_row_that_makes_way_takes_along_those_whose_keys_name_it(central: str) -> None:
    """It comes again, under another number of central's."""
    writer, old, new = Author(pkid=1, name="writer"), Slot(position=1), Slot(position=1)
    essay = Essay(pkid=1, title="read", author=writer)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([read(feed.insert(writer, essay, old), writer, essay).batch()])
    for layout in (AUTHOR, SLOT, ESSAY, READERS):
        feed.raw(BEGIN, layout, ())
    feed.raw(LOAD, AUTHOR, ()).raw(LOAD, SLOT, ())
    feed.raw(SAVE, AUTHOR, (writer.id.bytes, "writer", None))
    feed.raw(SAVE, SLOT, (new.id.bytes, "in the way", 1))
    feed.raw(LOAD, ESSAY, ()).raw(SAVE, ESSAY, (essay.id.bytes, "read", writer.id.bytes, None))
    read(feed.raw(LOAD, READERS, ()), writer, essay, SAVE)
    for layout in (READERS, ESSAY, SLOT, AUTHOR):
        feed.raw(END, layout, ())
    applier.apply([feed.batch()])
    assert readers(central) == ["writer"]
    assert Slot.objects.using(central).get().id == new.id
