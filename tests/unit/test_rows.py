"""How rows are named and typed, over the models of the zoo."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps

from sockstream.conf import Settings
from sockstream.exceptions import ConfigError
from sockstream.rows import (
    Kind,
    Row,
    captured_models,
    describe,
    fingerprint,
    key_names,
    writing_order,
)


def row(label: str) -> Row:
    model: Any = apps.get_model(label)
    return describe(model)


def through(label: str, field: str) -> Row:
    return describe(apps.get_model(label)._meta.get_field(field).remote_field.through)


@pytest.mark.parametrize(
    ("label", "names"),
    [
        ("zoo.Tree", ("id",)),
        ("zoo.Author", ("id",)),
        ("zoo.Counter", ("id",)),
        ("zoo.Parameter", ("name",)),
        ("zoo.Restaurant", ("place_ptr",)),
        ("zoo.Portrait", ("author",)),
        ("contenttypes.ContentType", ("app_label", "model")),
        ("auth.Permission", ("content_type", "codename")),
    ],
)
def test_the_key_of_a_row(label: str, names: tuple[str, ...]) -> None:
    assert key_names(apps.get_model(label)) == names


def test_an_m2m_table_is_named_by_its_two_ends() -> None:
    found = through("zoo.Essay", "readers")
    assert set(found.key_names) == {"essay", "author"}
    assert found.others == ()
    assert found.is_global


def test_the_integer_beside_a_uuid_stays_at_home() -> None:
    author = row("zoo.Author")
    assert "pkid" not in author.key_names + author.other_names
    assert author.local_pk is not None
    assert author.local_pk.name == "pkid"
    assert author.is_global


def test_a_reference_to_a_row_with_a_local_pk_is_translated() -> None:
    (column,) = (c for c in row("zoo.Essay").columns if c.name == "author")
    assert column.kind is Kind.REFERENCE
    assert column.target == row("zoo.Author")


def test_a_reference_by_uuid_travels_as_it_is_stored() -> None:
    (column,) = (c for c in row("zoo.Leaf").columns if c.parent == "zoo.branch")
    assert column.kind is Kind.UUID
    assert column.target is None


def test_a_child_of_a_parent_with_a_local_pk_is_named_by_its_reference() -> None:
    machine = row("zoo.Machine")
    assert machine.key_names == ("asset_ptr",)
    assert machine.key[0].kind is Kind.REFERENCE
    assert machine.is_global


def test_an_integer_key_is_not_global() -> None:
    assert not row("zoo.Counter").is_global
    assert row("zoo.Tree").is_global


def test_a_generated_field_is_not_sent() -> None:
    assert not {"total", "shout"} & set(row("zoo.Generated").other_names)


def test_a_proxy_is_its_concrete_model() -> None:
    assert row("zoo.LoudCat") == row("zoo.Cat")


def test_a_label_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'zoo.unicorn', which is no installed app or model"):
        captured_models(Settings(MODELS=("zoo.unicorn",)))
    with pytest.raises(ConfigError, match=r"EXCLUDE.*'nowhere'"):
        captured_models(Settings(MODELS=("zoo",), EXCLUDE=("nowhere",)))


def test_an_app_brings_its_models_and_their_m2m_tables_once() -> None:
    labels = [m._meta.label for m in captured_models(Settings(MODELS=("polls", "polls.tag")))]
    assert sorted(labels) == ["polls.Choice", "polls.Question", "polls.Question_tags", "polls.Tag"]


def test_excluding_a_model_excludes_its_m2m_tables() -> None:
    chosen = captured_models(Settings(MODELS=("polls",), EXCLUDE=("polls.question",)))
    assert sorted(m._meta.label for m in chosen) == ["polls.Choice", "polls.Tag"]


def test_parents_are_written_before_children() -> None:
    rows = [row("zoo.Leaf"), row("zoo.Branch"), row("zoo.Tree"), row("zoo.Pizzeria")]
    rows += [row("zoo.Restaurant"), row("zoo.Place")]
    order = [each.label for each in writing_order(rows)]
    assert order.index("zoo.tree") < order.index("zoo.branch") < order.index("zoo.leaf")
    assert order.index("zoo.place") < order.index("zoo.restaurant") < order.index("zoo.pizzeria")


def test_a_cycle_of_references_does_not_spoil_the_order_of_the_others() -> None:
    rows = [row("zoo.Leaf"), row("zoo.Chicken"), row("zoo.Branch"), row("zoo.Egg"), row("zoo.Tree")]
    order = [each.label for each in writing_order(rows)]
    assert sorted(order) == sorted(each.label for each in rows)
    assert order.index("zoo.tree") < order.index("zoo.branch") < order.index("zoo.leaf")


def test_the_fingerprint_depends_on_the_columns_and_not_on_the_order() -> None:
    tree, leaf = row("zoo.Tree"), row("zoo.Leaf")
    assert fingerprint([tree, leaf]) == fingerprint([leaf, tree])
    assert fingerprint([tree, leaf]) != fingerprint([tree])
    assert len(fingerprint([])) == 16
