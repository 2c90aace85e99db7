"""Rows belong to whoever brought them: another site's, and central's own, stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import models
from django.test import override_settings

from sockstream.receiver.applying.applier import Applier, Stopped
from sockstream.receiver.models import HeldRow, Holding, Offset
from sockstream.wire.records import BEGIN, END, INSERT, LOAD, SAVE, UPDATE, Layout
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Counter, Essay, Reading, Slot, Topping, Tree

ALLOWED = Holding.Adoption.ALLOWED
SLOT = Layout("zoo.slot", ("id",), ("name", "position"))


@contextmanager
def configured(**more: Any) -> Iterator[None]:
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], **more}):
        yield


class Site:
    """A source with its feed, and the applier of its stream."""

    def __init__(self, using: str, name: str = "site-a") -> None:
        self.feed = Feed()
        self.name = name
        self.using = using

    def bring(self, **records: Any) -> None:
        """Apply one group: insert=[...], update=[...], delete=[...]."""
        for how in ("insert", "update", "delete"):
            getattr(self.feed, how)(*records.get(how, ()))
        self.applier().apply([self.feed.batch()])

    def applier(self) -> Applier:
        """A new one, whose settings are those of now."""
        return self.feed.applier(self.using, self.name)

    def refused(self, **records: Any) -> Stopped:
        """The stop that this group brings about."""
        with pytest.raises(Stopped) as stopped:
            self.bring(**records)
        return stopped.value


def values(using: str, model: type[models.Model] = Slot) -> set[str]:
    return set(model._default_manager.using(using).values_list("name", flat=True))


def many(beside: int) -> list[Tree]:
    return [Tree(name=str(number)) for number in range(beside)]


@pytest.mark.parametrize("beside", [0, 250], ids=["few", "many"])
@pytest.mark.parametrize("how", ["insert", "update", "delete"])
@pytest.mark.parametrize("make", [Slot, Author, Topping], ids=lambda made: made.__name__)
def test_another_site_s_row(make: Any, how: str, beside: int, central: str) -> None:
    row, other = make(name="of a"), make(name="untouched")
    Site(central).bring(insert=[row, other])
    row.name = "of b"
    thief = Site(central, "site-b")
    stopped = thief.refused(**{"insert": many(beside)} | {how: [*many(beside), row][-1:]})
    assert stopped.error.code == "not-yours"
    assert "1 row" in str(stopped.error)
    assert "1 of site-a/default" in str(stopped.error)
    assert 'SOCKSTREAM["SHARED"]' in stopped.error.mend
    assert (stopped.model, stopped.key) == (row._meta.label_lower, str(row.id))
    assert values(central, make) == {"of a", "untouched"}
    assert not Tree.objects.using(central).exists()


@pytest.mark.parametrize("how", ["insert", "update", "delete"])
def test_central_s_own_row(how: str, central: str) -> None:
    own = Slot.objects.using(central).create(name="central's", position=3)
    stopped = Site(central).refused(**{how: [Slot(id=own.id, name="a site's")]})
    assert stopped.error.code == "not-yours"
    assert "1 of central's own" in str(stopped.error)
    assert stopped.error.mend.endswith("manage.py oplog_source adopt site-a zoo.slot")
    assert values(central) == {"central's"}


def test_the_line_says_how_many_are_in_the_way_and_whose_they_are(central: str) -> None:
    of_b = [Slot(name=f"of b {n}") for n in range(2)]
    Site(central, "site-b").bring(insert=of_b)
    own = [Slot.objects.using(central).create(name=f"own {n}") for n in range(3)]
    mine = [Slot(id=slot.id, name="new") for slot in (*own, *of_b)]
    stopped = Site(central).refused(insert=[Slot(name="fine"), *mine])
    assert "5 rows of zoo.slot" in str(stopped.error)
    assert "3 of central's own, 2 of site-b/default" in str(stopped.error)
    assert stopped.seq == 2


@pytest.mark.parametrize("op", [INSERT, UPDATE, SAVE])
def test_equal_content_is_taken_over_in_silence(op: int, central: str) -> None:
    own = Slot.objects.using(central).create(name="the same", position=1)
    feed = Feed()
    if op == SAVE:
        feed.raw(BEGIN, SLOT, ()).raw(LOAD, SLOT, ())
    feed.raw(op, SLOT, (own.id.bytes, "the same", 1))
    if op == SAVE:
        feed.raw(END, SLOT, ())
    feed.applier(central).apply([feed.batch()])
    assert HeldRow.objects.using(central).get().name == own.id
    assert Offset.objects.using(central).get().inserts_met == 0
    own.name = "changed by the site"
    feed.applier(central).apply([feed.update(own).batch()])
    assert values(central) == {"changed by the site"}


def test_content_with_references_is_compared_by_what_they_point_to(central: str) -> None:
    """Central's numbers are its own, and so the same content has other values there."""
    ours = Author(pkid=71, name="author")
    site = Site(central)
    site.bring(insert=[ours])
    here = Author.objects.using(central).get()
    assert here.pkid != 71
    essay = Essay.objects.using(central).create(title="same", author=here)
    other = Essay.objects.using(central).create(title="other", author=here, editor=here)
    site.bring(insert=[Essay(id=essay.id, title="same", author=ours)])
    stopped = site.refused(insert=[Essay(id=other.id, title="other", author=ours)])
    assert stopped.error.code == "not-yours"


def test_a_person_hands_central_s_rows_over_once(central: str) -> None:
    own = [Slot.objects.using(central).create(name=f"own {n}") for n in range(2)]
    site = Site(central)
    first = Slot(id=own[0].id, name="of the site")
    assert site.refused(insert=[first]).error.code == "not-yours"
    source = Offset.objects.using(central).get().source
    Holding.objects.using(central).create(
        source=source, stream="default", model="zoo.slot", adoption=ALLOWED
    )
    site.applier().apply(site.feed.sent)
    assert values(central) == {"of the site", "own 1"}
    assert Offset.objects.using(central).get().inserts_met == 1
    second = Slot(id=own[1].id, name="of the site, too")
    assert site.refused(insert=[second]).error.code == "not-yours"
    # It is its own from now on.
    assert Holding.objects.using(central).get(model="zoo.slot").adoption == ""


def test_what_is_handed_over_stays_so_until_the_commit(central: str) -> None:
    """A group that fails after the look leaves the permission standing."""
    own = Slot.objects.using(central).create(name="own")
    site = Site(central)
    site.feed.opened(central)
    source = Offset.objects.using(central).get().source
    Holding.objects.using(central).create(
        source=source, stream="default", model="zoo.slot", adoption=ALLOWED
    )
    bad = Essay(title="points to nobody", author=Author(pkid=9))
    site.refused(insert=[Slot(id=own.id, name="of the site"), bad])
    assert Holding.objects.using(central).get(model="zoo.slot").adoption == ALLOWED
    assert values(central) == {"own"}


def test_what_is_handed_over_holds_for_all_of_the_transaction(central: str) -> None:
    """However its records are cut: here a unique value makes the applier try ever smaller parts."""
    own = [Slot.objects.using(central).create(name=f"own {n}", position=n) for n in range(4)]
    site = Site(central)
    site.feed.opened(central)
    source = Offset.objects.using(central).get().source
    Holding.objects.using(central).create(
        source=source, stream="default", model="zoo.slot", adoption=ALLOWED
    )
    rows = [Slot(id=slot.id, name="site", position=9) for slot in own]
    for row in rows:
        site.feed.update(row)
        row.position = None
        site.feed.update(row)
    site.applier().apply([site.feed.batch()])
    assert values(central) == {"site"}
    assert Holding.objects.using(central).get(model="zoo.slot").adoption == ""


def test_a_deployment_that_wants_no_question(central: str) -> None:
    own = Slot.objects.using(central).create(name="own")
    with configured(ADOPT=True):
        Site(central).bring(update=[Slot(id=own.id, name="of the site")])
        assert values(central) == {"of the site"}
        # Another site's rows are not central's.
        stopped = Site(central, "site-b").refused(update=[Slot(id=own.id, name="of b")])
    assert stopped.error.code == "not-yours"


def test_not_yours_is_never_parked(central: str) -> None:
    own = Slot.objects.using(central).create(name="own")
    with configured(ON_ERROR="park"):
        stopped = Site(central).refused(update=[Slot(id=own.id, name="of the site")])
    assert stopped.error.code == "not-yours"


def snapshot(site: Site, *slots: Slot) -> None:
    site.feed.raw(BEGIN, SLOT, ()).raw(LOAD, SLOT, ())
    for slot in slots:
        site.feed.raw(SAVE, SLOT, (slot.id.bytes, slot.name, slot.position))
    site.applier().apply([site.feed.raw(END, SLOT, ()).batch()])


def test_a_snapshot_stops_at_another_site_s_row(central: str) -> None:
    row = Slot(name="of a")
    Site(central).bring(insert=[row])
    thief = Site(central, "site-b")
    with pytest.raises(Stopped) as stopped:
        snapshot(thief, Slot(id=row.id, name="of b"))
    assert stopped.value.error.code == "not-yours"
    assert values(central) == {"of a"}


class TestShared:
    """Models that every source may write."""

    @pytest.fixture(autouse=True)
    def shared(self) -> Iterator[None]:
        with configured(SHARED=["zoo.slot", "zoo.counter"]):
            yield

    @pytest.mark.parametrize("beside", [0, 250], ids=["few", "many"])
    def test_the_last_writer_wins(self, beside: int, central: str) -> None:
        row = Slot(name="of a")
        Site(central).bring(insert=[row])
        row.name = "of b"
        Site(central, "site-b").bring(insert=[*many(beside), row])
        assert values(central) == {"of b"}
        assert not Offset.objects.using(central).filter(inserts_met__gt=0).exists()

    def test_a_row_goes_when_no_source_holds_it(self, central: str) -> None:
        row, sites = Slot(name="both"), [Site(central, name) for name in ("site-a", "site-b")]
        for site in sites:
            site.bring(insert=[row])
        sites[0].bring(delete=[row])
        assert values(central) == {"both"}
        sites[1].bring(delete=[row])
        assert not values(central)
        assert not HeldRow.objects.using(central).exists()

    def test_a_snapshot_takes_away_what_nobody_else_holds(self, central: str) -> None:
        rows = [Slot(name="both"), Slot(name="of a alone")]
        one = Site(central)
        one.bring(insert=rows)
        Site(central, "site-b").bring(insert=rows[:1])
        snapshot(one, Slot(name="left"))
        assert values(central) == {"both", "left"}

    def test_keys_that_mean_the_same_everywhere(self, central: str) -> None:
        for name in ("site-a", "site-b"):
            Site(central, name).bring(insert=[Counter(id=1, name=name)])
        assert values(central, Counter) == {"site-b"}


# A reference that travels as the integer that the site's database gave the row.


def test_a_number_of_another_site_s(central: str) -> None:
    Site(central).bring(insert=[Counter(id=1, name="of a")])
    stopped = Site(central, "site-b").refused(insert=[Reading(id=1, counter_id=1)])
    assert (stopped.error.code, stopped.model) == ("key-collision", "zoo.reading")
    assert "site-a/default" in str(stopped.error)
    assert not Reading.objects.using(central).exists()


def test_a_number_of_central_s_own(central: str) -> None:
    Counter.objects.using(central).create(id=1, name="own")
    stopped = Site(central).refused(insert=[Reading(id=1, counter_id=1)])
    assert "central's own" in str(stopped.error)


def test_a_number_of_a_model_that_central_does_not_take(central: str) -> None:
    with configured(EXCLUDE=["zoo.counter"]):
        Counter.objects.using(central).create(id=1, name="own")
        stopped = Site(central).refused(insert=[Reading(id=1, counter_id=1)])
        assert stopped.error.code == "key-collision"
    with configured(EXCLUDE=["zoo.counter"], SHARED=["zoo.counter"]):
        Site(central, "site-b").bring(insert=[Reading(id=1, counter_id=1)])
    assert Reading.objects.using(central).get().counter.name == "own"


def test_a_number_of_the_site_s_own_before_and_after_its_row(central: str) -> None:
    site = Site(central)
    site.bring(insert=[Reading(id=1, counter_id=1), Counter(id=1, name="mine")])
    site.bring(insert=[Reading(id=2, counter_id=1)])
    assert {reading.counter.name for reading in Reading.objects.using(central)} == {"mine"}
