"""A record at fault is named, whatever its values are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connections, models
from django.test import override_settings

from sockstream.exceptions import LONGEST_NAME, printable
from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.applying.faults import RecordFault, shown
from sockstream.receiver.models import Offset, Parked, Reserved, State
from sockstream.receiver.parked import retry
from sockstream.rows import describe
from sockstream.wire.records import BEGIN, DELETE, END, INSERT, LOAD, SAVE, UPDATE, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.rivals.models import Flag, Runner, Souvenir
from tests.zoo.models import (
    Branch,
    City,
    Country,
    Everything,
    Parameter,
    Seat,
    Translation,
    Tree,
)
from tests.zoo_pg.models import Arrays, Maps, Ranges, Searchable

PARAMETER = Layout("zoo.parameter", ("name",), ("value",))
BRANCH = Layout("zoo.branch", ("id",), ("tree",))
TREE = Layout("zoo.tree", ("id",), ("name",))
ODD_TEXTS = {
    "nul": "a\x00b",
    "lines": "one\r\ntwo\x1b[2J\x7f",
    "directions": "\u202eevil\u2028\ufeff",
    "megabyte": "k" * (1 << 20),
    "megabyte of nul": "\x00" * (1 << 20),
    "no latin": "ключ 🔑" * 100,
}
ODD_VALUES: Sequence[Any] = (
    None,
    True,
    -1,
    2**63 - 1,
    2**64 - 1,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "text",
    "a\x00b",
    "\\",
    '{"',
    "x" * 3_000,
    b"",
    b"\xff\x00",
    b"\xff" * 16,
    b"\xff" * 5_000,
    [],
    [1, ["a", None]],
    ["a\x00", b"\x00"],
    {"a": 1},
    {"a\x00": None, "b": "c\x00"},
    {"a": ["b"]},
)


def table_of(model: type[models.Model]) -> str:
    return model._meta.db_table


@pytest.mark.parametrize("op", [INSERT, UPDATE, DELETE])
@pytest.mark.parametrize("parks", [False, True])
@pytest.mark.parametrize("kind", ODD_TEXTS)
def test_a_text_as_a_key(kind: str, parks: bool, op: int, central: str) -> None:
    """Applied, if the database can; else named, also when central's table refuses every row."""
    key = ODD_TEXTS[kind]
    feed = Feed().insert(Tree(name="fine")).end()
    values = (key,) if op == DELETE else (key, "value")
    feed.raw(op, PARAMETER, values)
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": "park" if parks else "stop"}):
        try:
            feed.applier(central).apply([feed.batch()])
        except Stopped as stopped:
            named = (stopped.model, stopped.key, stopped.seq)
            assert not parks
            row = Offset.objects.using(central).get()
            assert named == (row.error_model, row.error_key, row.error_seq)
            assert row.state == State.STOPPED
        else:
            parked = Parked.objects.using(central).first()
            if parked is None:
                assert Parameter.objects.using(central).exists() == (op != DELETE)
                return
            assert parks
            named = (parked.model, parked.key, parked.seq)
            retry(central)
    assert named == ("zoo.parameter", shown([key]), 2)
    assert Tree.objects.using(central).exists()


@pytest.mark.usefixtures("parks")
def test_any_value_in_any_column(central: str) -> None:
    """Each in a group of its own: nothing stops the stream, and what is parked is named."""
    pg = [Arrays, Maps, Ranges, Searchable] if connections[central].vendor == "postgresql" else []
    feed = Feed()
    seqs: dict[int, str] = {}
    for model in (Everything, Parameter, Translation, Seat, Branch, City, *pg):
        row = describe(model)
        for column in row.columns:
            for value in ODD_VALUES:
                others = () if column in row.key else (column,)
                layout = Layout(row.label, row.key_names, tuple(c.name for c in others))
                number = len(seqs) + 1
                values = [value if c == column else _fitting(c, number) for c in row.key + others]
                feed.raw(INSERT, layout, values).end()
                seqs[number] = row.label
    applied = feed.applier(central).apply([feed.batch()])
    assert applied.offset == len(seqs)
    parked = Parked.objects.using(central).order_by("seq")
    assert parked.exists()
    for each in parked:
        assert each.model == seqs[each.seq]
        assert each.key.isprintable()


def _fitting(column: Any, number: int) -> Any:
    kinds = {"uuid": number.to_bytes(16), "int": number, "reference": number.to_bytes(16)}
    return kinds.get(column.kind, str(number))


@pytest.mark.parametrize("value", ["not-a-uuid", "é" * 300, b"\xff", b"", 7])
def test_a_reference_that_is_no_key(value: Any, central: str) -> None:
    """SQLite takes it, and tells at the commit that there is no such row."""
    tree = Tree(name="fine")
    feed = Feed().insert(tree).end().raw(INSERT, BRANCH, [b"b" * 16, tree.id.bytes])
    feed.raw(INSERT, BRANCH, [b"c" * 16, value]).raw(INSERT, BRANCH, [b"d" * 16, tree.id.bytes])
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert (stopped.value.model, stopped.value.seq) == ("zoo.branch", 3)
    assert stopped.value.key == shown([b"c" * 16])
    row = Offset.objects.using(central).get()
    assert (row.seq, row.error_model, row.error_seq) == (1, "zoo.branch", 3)


@pytest.mark.usefixtures("parks")
@pytest.mark.parametrize("key", ["not-a-uuid", "n\x00", b"\x01", {"a": 1}])
def test_a_row_of_a_snapshot_whose_key_cannot_be_read(key: Any, databases: Databases) -> None:
    """It is parked as an insert would be, and the rest of the snapshot arrives."""
    using = "central_pg"
    databases.clean(using)
    feed = Feed().raw(BEGIN, TREE, ()).raw(LOAD, TREE, ())
    feed.raw(SAVE, TREE, [b"1" * 16, "good"]).raw(SAVE, TREE, [key, "bad"])
    feed.raw(SAVE, TREE, [b"2" * 16, "good"]).raw(END, TREE, ())
    feed.applier(using).apply([feed.batch()])
    assert Tree.objects.using(using).filter(name="good").count() == 2
    parked = Parked.objects.using(using).get()
    assert (parked.model, parked.key, parked.seq) == ("zoo.tree", shown([key]), 4)
    assert parked.absent


@pytest.mark.parametrize("label", ["x" * 255, "a.\x00", "app.\x1b[2J", "ü." * 120])
def test_a_model_with_an_odd_name(label: str, central: str) -> None:
    feed = Feed().insert(Tree()).end().raw(INSERT, Layout(label, ("id",), ("name",)), ["\x00", 1])
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    row = Offset.objects.using(central).get()
    assert (row.error_code, row.error_seq) == ("model-not-allowed", 2)
    assert row.error_model == printable(label, LONGEST_NAME)
    assert len(row.error_model) <= 200
    assert row.error.isprintable()
    assert stopped.value.error.model == row.error_model


def test_a_field_with_an_odd_name(central: str) -> None:
    feed = Feed().raw(INSERT, Layout("zoo.tree", ("id",), ("na\x00me" * 50,)), [b"t" * 16, 1])
    with pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([feed.batch()])
    assert stopped.value.error.code == "schema-mismatch"
    assert Offset.objects.using(central).get().error_model == "zoo.tree"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (["plain"], "plain"),
        (["a\x00\n\ud800"], "a\\x00\\n\\ud800"),
        ([b"\x01" * 3, ["x", None]], "010101, (x, None)"),
        (["y" * 201], "y" * 199 + "…"),
        (["\x00" * 200], ("\\x00" * 50)[:199] + "…"),
        ([b"\xff" * (1 << 20)], "f" * 199 + "…"),
    ],
)
def test_how_a_key_is_shown(key: Sequence[Any], expected: str) -> None:
    assert shown(key) == expected
    assert len(RecordFault("m" * 999, shown(key), 1).model) == 200


@pytest.fixture
def souvenirs(central: str) -> Iterator[None]:
    """Central has a table of its own that points to what sites send."""
    taken = {"MODELS": ["zoo", "rivals"], "EXCLUDE": ["rivals.souvenir"]}
    with override_settings(SOCKSTREAM=taken):
        yield
    Souvenir.objects.using(central).all().delete()


@pytest.mark.usefixtures("souvenirs")
@pytest.mark.parametrize("parks", [False, True])
@pytest.mark.parametrize("beside", [0, 250])
def test_a_delete_that_central_s_own_table_forbids(beside: int, parks: bool, central: str) -> None:
    """It says which table points to the row, and nothing of what the site should send."""
    runner = Runner(bib=1, title="one", lane=1)
    others = [Flag(country=str(n), place=n) for n in range(beside)]
    feed = Feed()
    changed = {"ON_ERROR": "park"} if parks else {}
    taken = {"MODELS": ["zoo", "rivals"], "EXCLUDE": ["rivals.souvenir"], **changed}
    with override_settings(SOCKSTREAM=taken):
        applier = feed.applier(central)
        applier.apply([feed.insert(runner, *others).batch()])
        local = Runner.objects.using(central).get()
        Souvenir.objects.using(central).create(runner=local)
        feed.delete(*others[: beside // 2], runner, *others[beside // 2 :])
        seq = 1 + beside + beside // 2 + 1
        if parks:
            applier.apply([feed.batch()])
            parked = Parked.objects.using(central).get()
            words, named = parked.error, (parked.model, parked.key, parked.seq)
            assert parked.code == "record-refused"
        else:
            with pytest.raises(Stopped) as stopped:
                applier.apply([feed.batch()])
            error = stopped.value.error
            assert error.code == "record-refused"
            assert "central" in error.mend
            words = error.words
            named = (stopped.value.model, stopped.value.key, stopped.value.seq)
            assert "Let the site" not in str(error)
    assert named == ("rivals.runner", str(runner.id), seq)
    assert "rivals.souvenir" in words
    assert "cannot be deleted" in words
    assert "does not have" not in words
    assert Runner.objects.using(central).exists()


@pytest.mark.usefixtures("souvenirs")
def test_a_delete_that_is_tried_again_keeps_no_number(central: str) -> None:
    runner, feed = Runner(bib=1, title="one", lane=1), Feed()
    taken = {"MODELS": ["zoo", "rivals"], "EXCLUDE": ["rivals.souvenir"], "ON_ERROR": "park"}
    with override_settings(SOCKSTREAM=taken):
        applier = feed.applier(central)
        applier.apply([feed.insert(runner).batch()])
        souvenir = Souvenir.objects.using(central).create(
            runner=Runner.objects.using(central).get()
        )
        applier.apply([feed.delete(runner).batch()])
        souvenir.delete(using=central)
        assert retry(central).applied == 1
    assert not Runner.objects.using(central).exists()
    assert not Reserved.objects.using(central).exists()


def test_a_delete_that_a_row_from_another_site_forbids(central: str) -> None:
    """Under a reference that is no primary key."""
    country = Country(code="xy")
    one = Feed()
    applier = one.applier(central, "site-a")
    applier.apply([one.insert(country).batch()])
    two = Feed().insert(City(country=country))
    two.applier(central, "site-b").apply([two.batch()])
    with pytest.raises(Stopped) as stopped:
        applier.apply([one.delete(country).batch()])
    assert stopped.value.error.seq == 2
    assert "zoo.city" in stopped.value.error.words
