"""What has to happen in an order: unique values that move, changed keys, cascades."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import pytest
from django.db import connections, models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.applying.parts import Step
from sockstream.receiver.models import Offset
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo import models as zoo
from tests.zoo.models import Pairing, Parameter, Ranked, Slot, Topping, Tree


@pytest.fixture
def fast_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast way has to do: records are not tried in smaller parts."""

    def fail(self: Applier, group: Sequence[Step]) -> None:
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr(Applier, "_commit_slowly", fail)


def test_two_rows_swap_a_unique_value(central: str) -> None:
    one, two = Slot(position=1, name="one"), Slot(position=2, name="two")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, two).batch()])
    one.position = None
    feed.update(one)
    two.position = 1
    feed.update(two)
    one.position = 2
    applier.apply([feed.update(one).batch()])
    assert dict(Slot.objects.using(central).values_list("name", "position")) == {
        "one": 2,
        "two": 1,
    }


def test_a_whole_row_of_positions_moves_up(central: str) -> None:
    slots = [Slot(position=number, name=str(number)) for number in range(50)]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*slots).batch()])
    for slot in reversed(slots):
        slot.position = (slot.position or 0) + 1
        feed.update(slot)
    applier.apply([feed.insert(Slot(position=0, name="first")).batch()])
    found = Slot.objects.using(central).order_by("position").values_list("name", flat=True)
    assert list(found) == ["first", *map(str, range(50))]


@pytest.mark.usefixtures("fast_only")
def test_a_unique_value_passes_to_a_new_row(central: str) -> None:
    old, new = Topping(name="cheese"), Topping(name="cheese")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(old).batch()])
    applier.apply([feed.delete(old).insert(new).batch()])
    assert Topping.objects.using(central).get().id == new.id


@pytest.mark.usefixtures("fast_only")
def test_an_updated_row_frees_a_value_for_a_new_one(central: str) -> None:
    old, new = Topping(name="cheese"), Topping(name="cheese")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(old).batch()])
    old.name = "old cheese"
    applier.apply([feed.update(old).insert(new).batch()])
    assert set(Topping.objects.using(central).values_list("name", flat=True)) == {
        "cheese",
        "old cheese",
    }


def test_unique_together(central: str) -> None:
    one, two = Pairing(left=1, right=1), Pairing(left=1, right=2)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, two).batch()])
    one.right = 3
    feed.update(one)
    two.right = 1
    feed.update(two)
    one.right = 2
    applier.apply([feed.update(one).batch()])
    found = Pairing.objects.using(central)
    assert (found.get(id=one.id).right, found.get(id=two.id).right) == (2, 1)


def test_ranks_that_are_looked_at_at_the_end(central: str) -> None:
    one, two = Ranked(rank=1), Ranked(rank=2)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one, two).batch()])
    one.rank, two.rank = 2, 1
    applier.apply([feed.update(one, two).batch()])
    assert Ranked.objects.using(central).get(id=one.id).rank == 2


@pytest.mark.usefixtures("fast_only")
def test_a_changed_key(central: str) -> None:
    old, new = Parameter(name="old", value="1"), Parameter(name="new", value="1")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(old).batch()])
    applier.apply([feed.delete(old).insert(new).batch()])
    assert Parameter.objects.using(central).get().name == "new"


@pytest.mark.usefixtures("fast_only")
def test_a_row_that_is_deleted_and_made_again(central: str) -> None:
    row = Parameter(name="key", value="1")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(row).batch()])
    row.value = "2"
    feed.delete(row).insert(row)
    row.value = "3"
    applier.apply([feed.update(row).batch()])
    assert Parameter.objects.using(central).get().value == "3"
    found = Offset.objects.using(central).get()
    assert (found.inserts_met, found.updates_missed, found.deletes_missed) == (0, 0, 0)


@pytest.mark.skipif(not hasattr(models, "DB_CASCADE"), reason="Django 6.1 brings DB_CASCADE")
@pytest.mark.usefixtures("fast_only")
def test_a_child_leaves_before_the_database_cascades(central: str) -> None:
    old, new = Tree(name="old"), Tree(name="new")
    staying = zoo.Root(tree=old)
    going = zoo.Root(tree=old)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(old, new, staying, going).batch()])
    staying.tree = new
    applier.apply([feed.update(staying).delete(going, old).batch()])
    assert (
        zoo.Root._default_manager.using(central).values_list("tree_id", flat=True).get() == new.id
    )
    found = Offset.objects.using(central).get()
    assert (found.updates_missed, found.deletes_missed) == (0, 0)


@pytest.mark.usefixtures("fast_only")
def test_a_row_made_again_has_another_local_key(central: str) -> None:
    author, essay = zoo.Author(pkid=1), zoo.Essay(pkid=1, title="one")
    essay.author = author
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(author, essay).batch()])
    applier.apply([feed.delete(essay, author).batch()])
    applier.apply([feed.insert(author).batch()])
    applier.apply([feed.insert(essay).batch()])
    assert zoo.Essay.objects.using(central).get().author.id == author.id


moves = st.lists(
    st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3), st.booleans()), max_size=12
)


@pytest.mark.parametrize("using", ["central_sqlite", "central_pg"])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(groups=st.lists(moves, min_size=1, max_size=4))
def test_any_moves_of_unique_values(
    using: str, databases: Databases, groups: list[list[tuple[int, int | None, bool]]]
) -> None:
    """Whatever a site with the same constraint could do, central can do too."""
    databases.clean(using)
    ids = [uuid.UUID(int=number) for number in range(4)]
    site: dict[int, int | None] = {}
    feed = Feed()
    applier = feed.applier(using)
    sent = []
    for group in groups:
        for row, position, gone in group:
            if _move(feed, site, ids, (row, position, gone)):
                sent.append(row)
        if sent:
            sent.clear()
            applier.apply([feed.batch()])
    found = dict(Slot.objects.using(using).values_list("id", "position"))
    assert found == {ids[row]: position for row, position in site.items()}


def _move(
    feed: Feed,
    site: dict[int, int | None],
    ids: list[uuid.UUID],
    move: tuple[int, int | None, bool],
) -> bool:
    """One write at the site, if its constraint allows it."""
    row, position, gone = move
    slot = Slot(id=ids[row], position=position)
    if gone:
        if row not in site:
            return False
        del site[row]
        feed.delete(slot)
        return True
    if position is not None and position in [site[each] for each in site if each != row]:
        return False
    (feed.update if row in site else feed.insert)(slot)
    site[row] = position
    return True


def test_constraints_of_postgresql_are_deferred(databases: Databases) -> None:
    """Also those that are immediate unless somebody says otherwise."""
    using = "central_pg"
    databases.clean(using)
    with connections[using].cursor() as cursor:
        for one, other in (("chicken", "egg"), ("egg", "chicken")):
            cursor.execute(
                f"ALTER TABLE zoo_{one} ADD CONSTRAINT at_once FOREIGN KEY ({other}_id) "
                f"REFERENCES zoo_{other} DEFERRABLE INITIALLY IMMEDIATE"
            )
    try:
        chicken, egg = zoo.Chicken(), zoo.Egg()
        chicken.egg, egg.chicken = egg, chicken
        feed = Feed()
        feed.applier(using).apply([feed.insert(chicken, egg).batch()])
        assert zoo.Chicken.objects.using(using).get().egg_id == egg.id
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("ALTER TABLE zoo_chicken DROP CONSTRAINT at_once")
            cursor.execute("ALTER TABLE zoo_egg DROP CONSTRAINT at_once")
