"""A site that migrates: its layouts change in the middle of a stream, a batch, a group."""

from __future__ import annotations

import uuid

from sockstream.receiver.models import Offset
from sockstream.wire.records import DELETE, INSERT, UPDATE, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Parameter, Required, Tree
from tests.zoo_pg.models import Arrays

OLD = Layout("zoo.required", ("id",), ("count",))
NEW = Layout("zoo.required", ("id",), ("name", "count"))
KEY = uuid.UUID(int=7)


def test_two_layouts_of_a_model_in_one_batch(central: str) -> None:
    feed = Feed()
    feed.raw(INSERT, OLD, [KEY.bytes, 1])
    feed.raw(UPDATE, NEW, [KEY.bytes, "named", 2])
    feed.raw(UPDATE, OLD, [KEY.bytes, 3])
    feed.raw(INSERT, OLD, [b"x" * 16, 9]).raw(DELETE, NEW, [b"x" * 16])
    feed.applier(central).apply([feed.batch()])
    found = Required.objects.using(central).get()
    assert (found.id, found.name, found.count, found.active) == (KEY, "named", 3, True)
    assert None not in {found.created, found.changed, found.day, found.moment}
    row = Offset.objects.using(central).get()
    assert (row.inserts_met, row.updates_missed, row.deletes_missed) == (0, 0, 0)


def test_layouts_of_several_batches_in_one_transaction(central: str) -> None:
    feed = Feed()
    tree = Tree(name="oak")
    first = feed.raw(INSERT, OLD, [KEY.bytes, 1]).insert(tree).batch()
    second = feed.raw(UPDATE, NEW, [KEY.bytes, "named", 2]).delete(tree).batch()
    third = feed.raw(UPDATE, NEW, [KEY.bytes, "renamed", 2]).insert(tree).batch()
    applied = feed.applier(central).apply([first, second, third])
    assert applied.offset == 6
    assert Required.objects.using(central).get().name == "renamed"
    assert Tree.objects.using(central).get().name == "oak"


def test_the_order_of_fields_is_the_layouts(central: str) -> None:
    layout = Layout("zoo.required", ("id",), ("count", "name"))
    feed = Feed().raw(INSERT, layout, [KEY.bytes, 5, "five"])
    feed.applier(central).apply([feed.batch()])
    found = Required.objects.using(central).get()
    assert (found.name, found.count) == ("five", 5)


def test_many_headers_are_not_kept(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    fields = ("name", "count", "price", "active", "json", "binary", "duration", "created")
    values = {"name": "", "count": 1, "price": "1.00", "active": True}
    values |= {"json": "{}", "binary": b"", "duration": 0}
    values |= {"created": "2026-01-01 00:00:00.000000Z"}
    batches = []
    for number in range(300):
        chosen = [name for bit, name in enumerate(fields) if number >> bit & 1]
        layout = Layout("zoo.required", ("id",), tuple(chosen))
        names = Layout("zoo.parameter", ("name",), ("value",) if number < 128 else ())
        feed.raw(INSERT, layout, [uuid.uuid4().bytes, *(values[name] for name in chosen)])
        batches.append(feed.raw(INSERT, names, [str(number), *["v"] * (number < 128)]).batch())
    applier.apply(batches)
    assert Required.objects.using(central).count() == 300
    assert Parameter.objects.using(central).filter(value="v").count() == 128


def test_a_column_of_a_list_that_the_site_does_not_have_yet(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    feed = Feed().raw(INSERT, Layout("zoo_pg.arrays", ("id",), ("integers",)), [KEY.bytes, [1]])
    feed.applier(using).apply([feed.batch()])
    found = Arrays.objects.using(using).get()
    assert (found.integers, found.short, found.texts) == ([1], [], None)
