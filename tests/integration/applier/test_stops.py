"""A record that can't be applied: what came before stays, the rest waits, the reason is noted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connections
from django.test import override_settings

from polls.models import Question
from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset, Owner, State
from sockstream.wire.records import INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Bounded, Counter, Everything, Parameter, Tree

QUESTION = Layout("polls.question", ("id",), ("text", "published_at", "closed"))


def fine(text: str = "fine") -> Question:
    return Question(text=text, published_at=datetime(2026, 1, 1, tzinfo=UTC))


def offset(using: str, source: str = "site-a") -> Offset:
    return Offset.objects.using(using).get(source__name=source)


def test_the_record_at_fault_is_named_and_noted(central: str) -> None:
    bad = Bounded(low=5, high=1)
    feed = Feed().insert(fine("before")).end()
    feed.insert(fine("with it"), Bounded(), bad, Bounded()).end()
    feed.insert(fine("after"))
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert (stopped.value.model, stopped.value.key, stopped.value.seq) == (
        "zoo.bounded",
        str(bad.id),
        4,
    )
    error = stopped.value.error
    assert (error.code, error.seq, error.model) == ("record-refused", 4, "zoo.bounded")
    assert "zoo_low_lte_high" in error.words
    assert [each.text for each in Question.objects.using(central).all()] == ["before"]
    row = offset(central)
    assert (row.seq, row.state, row.error_code) == (1, State.STOPPED, "record-refused")
    assert (row.error_model, row.error_key, row.error_seq) == ("zoo.bounded", str(bad.id), 4)
    assert "zoo_low_lte_high" in row.error
    assert row.error_at is not None


def test_one_bad_group_among_hundreds(central: str) -> None:
    feed = Feed()
    for number in range(300):
        feed.insert(Bounded(low=5 if number == 217 else 0)).end()
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.seq == 218
    assert Bounded.objects.using(central).count() == 217
    assert offset(central).seq == 217


def test_it_goes_on_when_the_cause_is_mended(central: str) -> None:
    feed = Feed().insert(Parameter(name="x", value="1")).end()
    batch = feed.insert(fine(), fine()).batch()
    applier = feed.applier(central)
    table = connections[central].ops.quote_name("polls_question")
    with connections[central].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    try:
        with pytest.raises(Stopped) as stopped:
            applier.apply([batch])
        assert "polls_question" in stopped.value.error.words
        assert offset(central).seq == 1
        with pytest.raises(Stopped):
            feed.applier(central).apply([batch])
    finally:
        with connections[central].cursor() as cursor:
            cursor.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    feed.applier(central).apply([batch])
    row = offset(central)
    assert (row.seq, row.state, row.error_code, row.error) == (3, State.CONNECTED, "", "")
    assert (row.error_model, row.error_seq, row.error_at) == ("", 0, None)


def test_models_that_central_does_not_take(central: str) -> None:
    feed = Feed().insert(fine()).end().insert(Tree())
    batch = feed.batch()
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply([batch])
        assert (stopped.value.error.code, stopped.value.seq) == ("model-not-allowed", 2)
        assert "zoo.tree" in stopped.value.error.words
    assert not Tree.objects.using(central).exists()
    assert Question.objects.using(central).exists()
    feed.applier(central).apply([batch])
    assert Tree.objects.using(central).exists()


@pytest.mark.parametrize("label", ["zoo.unicorn", "nowhere.atall", "auth.user", "no label"])
def test_models_that_are_none(label: str, central: str) -> None:
    feed = Feed().raw(INSERT, Layout(label, ("id",), ()), [1])
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.error.code == "model-not-allowed"


def test_a_field_that_central_lacks_is_never_dropped(central: str) -> None:
    layout = Layout("zoo.tree", ("id",), ("name", "height"))
    feed = Feed().raw(INSERT, layout, [b"t" * 16, "oak", 12])
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.error.code == "schema-mismatch"
    assert "'height'" in stopped.value.error.words
    assert not Tree.objects.using(central).exists()


def test_another_key_at_central(central: str) -> None:
    feed = Feed().raw(INSERT, Layout("zoo.tree", ("name",), ()), ["oak"])
    with pytest.raises(Stopped, match="'name'") as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.error.code == "schema-mismatch"


def test_a_decimal_with_more_places_is_not_rounded(central: str) -> None:
    layout = Layout("zoo.everything", ("id",), ("decimal",))
    feed = Feed().raw(INSERT, layout, [b"e" * 16, "1.25000"])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    with pytest.raises(Stopped, match=r"1\.00005"):
        applier.apply([feed.raw(INSERT, layout, [b"f" * 16, "1.00005"]).batch()])


def test_no_number_where_the_database_has_none(central: str) -> None:
    feed = Feed().insert(Everything(float=float("nan")))
    applier = feed.applier(central)
    if connections[central].vendor != "postgresql":
        with pytest.raises(Stopped, match="'float' has nan"):
            applier.apply([feed.batch()])
    else:
        applier.apply([feed.batch()])


def test_a_datetime_without_a_zone(central: str) -> None:
    feed = Feed().raw(INSERT, QUESTION, [b"q" * 16, "when?", "2026-01-01 00:00:00", False])
    with pytest.raises(Stopped, match="USE_TZ"):
        feed.applier(central).apply([feed.batch()])


def test_a_text_that_is_too_long_is_not_cut(databases: Databases) -> None:
    databases.clean("central_pg")
    feed = Feed().insert(Tree(name="x" * 51))
    with pytest.raises(Stopped, match="too long"):
        feed.applier("central_pg").apply([feed.batch()])


def test_a_text_with_nul_is_not_cut(databases: Databases) -> None:
    databases.clean("central_pg")
    feed = Feed().insert(Tree(name="a\x00b"))
    with pytest.raises(Stopped, match="NUL"):
        feed.applier("central_pg").apply([feed.batch()])


@pytest.mark.parametrize("value", [2**64 - 1, {"a": 1}, [1, 2], b"\xff"])
def test_values_that_fit_no_column(value: object, central: str) -> None:
    layout = Layout("zoo.everything", ("id",), ("big",))
    feed = Feed().insert(fine()).end().raw(INSERT, layout, [b"e" * 16, value])
    applier = feed.applier(central)
    if connections[central].vendor == "sqlite" and value == b"\xff":
        return  # SQLite stores anything anywhere
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.batch()])
    assert (stopped.value.error.code, stopped.value.seq) == ("record-refused", 2)


def test_a_key_that_is_no_key(central: str) -> None:
    layout = Layout("zoo.parameter", ("name",), ("value",))
    feed = Feed().raw(INSERT, layout, [{"a": 1}, "x"])
    with pytest.raises(Stopped):
        feed.applier(central).apply([feed.batch()])


def test_two_sites_with_integer_keys(central: str) -> None:
    one, two = Feed(), Feed()
    one.applier(central, "site-a").apply([one.insert(Counter(id=1, name="a")).batch()])
    owner = Owner.objects.using(central).get()
    assert (owner.model, owner.source.name, owner.stream) == ("zoo.counter", "site-a", "default")
    two.insert(fine("two")).end().insert(Counter(id=1, name="b"))
    with pytest.raises(Stopped) as stopped:
        two.applier(central, "site-b").apply([two.batch()])
    assert (stopped.value.error.code, stopped.value.seq) == ("key-collision", 2)
    assert "site-a" in stopped.value.error.words
    assert Counter.objects.using(central).get().name == "a"
    one.applier(central, "site-a").apply([one.update(Counter(id=1, name="c")).batch()])
    assert offset(central, "site-b").seq == 1
    assert offset(central).state != State.STOPPED


def test_a_claim_that_was_rolled_back_is_none(central: str) -> None:
    one, two = Feed(), Feed()
    bad = one.insert(Counter(id=1, name="a"), Bounded(low=9)).batch()
    applier = one.applier(central, "site-a")
    with pytest.raises(Stopped):
        applier.apply([bad])
    assert not Owner.objects.using(central).exists()
    two.applier(central, "site-b").apply([two.insert(Counter(id=1, name="b")).batch()])
    with pytest.raises(Stopped) as stopped:
        applier.apply([bad])
    assert stopped.value.error.code == "key-collision"


@override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ADOPT": True})
@pytest.mark.parametrize("beside", [0, 500], ids=["few", "many"])
def test_meetings_are_counted_and_made_right(beside: int, central: str) -> None:
    there, lacking = Parameter(name="there", value="site"), Parameter(name="lacking", value="site")
    Parameter.objects.using(central).create(name="there", value="central")
    feed = Feed()
    applier = feed.applier(central)
    feed.insert(*(Bounded() for _ in range(beside)))
    applier.apply([feed.insert(there, Parameter(name="new")).update(lacking).batch()])
    found = dict(Parameter.objects.using(central).values_list("name", "value"))
    assert found == {"there": "site", "lacking": "site", "new": ""}
    applier.apply([feed.delete(Parameter(name="nobody"), there).batch()])
    Parameter.objects.using(central).create(name="passing", value="central")
    passing = Parameter(name="passing")
    applier.apply([feed.insert(passing).delete(passing).batch()])
    assert not Parameter.objects.using(central).filter(name="passing").exists()
    assert Bounded.objects.using(central).count() == beside
    row = offset(central)
    assert (row.inserts_met, row.updates_missed, row.deletes_missed) == (2, 1, 1)
