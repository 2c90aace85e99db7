"""With "park", the stream stops all the same: at what no record is to blame for, and at limits."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset, Parked, State
from sockstream.wire.records import INSERT, Batch, Layout
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import MODELS, last, offset, parked, take
from tests.zoo import models as zoo
from tests.zoo.models import Slot, Tree

pytestmark = pytest.mark.usefixtures("parks")


def test_models_and_fields_that_central_does_not_know_stop_the_stream(central: str) -> None:
    take(central, 7)
    for layout, code in (
        (Layout("auth.user", ("id",), ()), "model-not-allowed"),
        (Layout("zoo.tree", ("id",), ("height",)), "schema-mismatch"),
    ):
        Offset.objects.using(central).all().delete()
        Parked.objects.using(central).all().delete()
        feed = Feed().insert(Slot(position=7)).end()
        values = [b"k" * 16, 1][: 1 + len(layout.others)]
        feed.insert(Slot(position=7)).raw(INSERT, layout, values)
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply([feed.batch()])
        assert (stopped.value.error.code, stopped.value.seq) == (code, 3)
        assert parked(central) == [(1, "fault", 0)]


def test_a_table_that_is_not_there_stops_the_stream(central: str) -> None:
    feed = Feed().insert(Tree()).batch()
    with connections[central].cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_tree RENAME TO elsewhere")
    try:
        with pytest.raises(Stopped, match="zoo_tree"):
            Feed.applier(_with(feed), central).apply([feed])
    finally:
        with connections[central].cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO zoo_tree")
    assert parked(central) == []


def _with(batch: Batch) -> Feed:
    feed = Feed()
    feed.seq, feed.digest = batch.last_seq, batch.digest_after
    return feed


def test_two_sites_with_integer_keys_stop_the_second(central: str) -> None:
    one, two = Feed(), Feed()
    one.applier(central, "site-a").apply([one.insert(zoo.Counter(id=1, name="a")).batch()])
    with pytest.raises(Stopped) as stopped:
        two.applier(central, "site-b").apply([two.insert(zoo.Counter(id=1, name="b")).batch()])
    assert stopped.value.error.code == "key-collision"


def test_so_many_and_no_more(central: str) -> None:
    take(central, 7)
    more = {"MODELS": MODELS, "ON_ERROR": "park", "PARKED_MAX": 2}
    bad, other, third = Slot(position=7), Slot(position=7), Slot(position=7)
    feed = Feed().insert(bad).end().update(bad).insert(other).end().update(bad).end()
    feed.insert(third).end().update(other)
    batch = feed.batch()
    with override_settings(SOCKSTREAM=more), pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([batch])
    assert (stopped.value.seq, stopped.value.error.code) == (5, "too-many-parked")
    assert "PARKED_MAX" in stopped.value.error.mend
    assert last(central) == {1: (4, INSERT), 3: (3, INSERT)}
    assert (offset(central).seq, offset(central).state) == (4, State.STOPPED)
    feed.applier(central).apply([batch])
    assert (offset(central).seq, len(parked(central))) == (6, 3)


def test_to_stop_again_stops_at_what_depends_on_a_parked_record(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(bad).batch()])
    feed.insert(Tree()).end().update(bad).end().insert(Tree())
    batch = feed.batch()
    with override_settings(SOCKSTREAM={"MODELS": MODELS}), pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([batch])
    assert (stopped.value.seq, stopped.value.error.code) == (3, "behind-parked")
    assert Tree.objects.using(central).count() == 1
    assert len(parked(central)) == 1
