"""Capture by signals: what sends them is captured as triggers would have it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import DatabaseError, connections, models, router, transaction
from django.db.models import F
from django.test import override_settings

from sockstream.conf import settings
from sockstream.exceptions import SockstreamError
from sockstream.rows import captured_models
from sockstream.sender import capture
from sockstream.sender.capture import signals
from sockstream.sender.capture.dialects.plpgsql import CHANNEL, SLEEPS
from tests.integration.capture.replay import replayed, take, truth
from tests.integration.pair import ways
from tests.integration.pair.values import a_few_of_each, odd_values, odd_values_of_postgresql
from tests.integration.pair.ways import Way
from tests.zoo.models import (
    Author,
    Bird,
    Branch,
    Car,
    Essay,
    LouderCat,
    Person,
    Pizzeria,
    Slot,
    Team,
    Tree,
    Vehicle,
)


@pytest.fixture(scope="module")
def changed_sites() -> Iterator[set[str]]:
    """The sites whose triggers were removed: once for all tests, since MariaDB takes its time."""
    changed: set[str] = set()
    yield changed
    for using in changed:
        capture.install(using)


@pytest.fixture(autouse=True)
def by_signals(site: str, changed_sites: set[str]) -> Iterator[None]:
    with override_settings(SOCKSTREAM={"MODELS": ["polls", "zoo", "zoo_pg"], "CAPTURE": "signals"}):
        if site not in changed_sites:
            capture.install(site)
            changed_sites.add(site)
        signals.listen()
        try:
            yield
        finally:
            signals.ignore()


BLIND = {
    ways.update_queryset,
    ways.bulk_create,
    ways.bulk_create_with_conflicts,
    ways.bulk_update,
    ways.many_to_many,
    ways.data_migration,
    ways.raw_sql,
    ways.another_program,
    ways.unique_swap,
    ways.changed_keys,
    ways.composite_keys,
    ways.inheritance,
    ways.references_to_itself,
    ways.references_in_a_circle,
    ways.filtered_deletes,
    ways.many_in_one_transaction,
}
"""They use update(), bulk_create(), raw SQL or historical models, none of which sends a signal."""


@pytest.mark.parametrize(
    "way", [way for way in ways.WAYS if way not in BLIND], ids=lambda way: way.__name__
)
def test_a_way_of_writing_that_sends_signals_is_captured(site: str, way: Way) -> None:
    way(site)
    assert replayed(take(site)) == truth(site)


def test_odd_values(site: str) -> None:
    vendor = connections[site].vendor
    for row in odd_values([vendor]):
        row.save(using=site)
    if vendor == "postgresql":
        for other in odd_values_of_postgresql():
            other.save(using=site)
    assert replayed(take(site)) == truth(site)


def test_rows_of_every_model(site: str) -> None:
    chosen = [
        model for model in captured_models(settings()) if router.allow_migrate_model(site, model)
    ]
    a_few_of_each(chosen, site)
    assert replayed(take(site)) == truth(site)


MTI = ("zoo.place", "zoo.vehicle", "zoo.car")


def test_tables_of_a_parent_and_its_child(site: str) -> None:
    pizzeria = Pizzeria(name="a", stars=1)
    pizzeria.save(using=site)
    pizzeria.name, pizzeria.oven = "b", "gas"
    pizzeria.save(using=site)
    vehicle = Vehicle.objects.using(site).create(wheels=3)
    Car(vehicle_ptr=vehicle, wheels=4, doors=2).save(using=site)
    pizzeria.delete(using=site)
    records = take(site)
    assert replayed(records) == truth(site)
    ops = {model: [record.op for record in records if record.model == model] for model in MTI}
    assert ops == {"zoo.place": [*"IUD"], "zoo.vehicle": [*"IU"], "zoo.car": [*"I"]}


def test_what_django_changes_with_a_deleted_row(site: str) -> None:
    tree = Tree(name="a")
    tree.save(using=site)
    Branch(tree=tree).save(using=site)
    Bird(sits_on=tree).save(using=site)
    Bird().save(using=site)
    author = Author.objects.using(site).create(name="a")
    essay = Essay.objects.using(site).create(title="t", author=author, editor=author)
    essay.readers.add(author)
    tree.delete(using=site)
    author.delete(using=site)
    assert replayed(take(site)) == truth(site)
    assert {label for label, _ in truth(site)} == {"zoo.bird"}


def test_pairs(site: str) -> None:
    one, two, three = (Person.objects.using(site).create(name=name) for name in "abc")
    one.friends.add(two, three, one)
    two.friends.add(three)
    one.friends.remove(two)
    one.friends.set([two])
    one.friends.set([two, three])
    two.friends.clear()
    one.follows.set([two, three])
    two.followers.clear()
    three.delete(using=site)
    assert replayed(take(site)) == truth(site)


def test_a_table_between_two_others(site: str) -> None:
    one, two = (Person.objects.using(site).create(name=name) for name in "ab")
    team = Team.objects.using(site).create(name="t")
    team.members.add(one, two)
    team.fans.set([one], through_defaults={"loud": True})
    team.members.remove(one)
    team.fans.clear()
    assert replayed(take(site)) == truth(site)


def test_a_key_that_save_changes(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    author.id = uuid.uuid4()
    author.save(using=site)
    assert [record.op for record in take(site)] == ["I", "D", "I"]


def test_a_row_that_a_model_of_the_same_table_saves(site: str) -> None:
    LouderCat(name="proxy").save(using=site)
    assert replayed(take(site)) == truth(site)


def test_a_save_in_autocommit_is_one_transaction(site: str) -> None:
    """If its captured row cannot be written, the row is not written either."""
    with connections[site].execute_wrapper(_refuse_captured), pytest.raises(DatabaseError):
        Slot(position=1).save(using=site)
    assert not Slot.objects.using(site).exists()


def _refuse_captured(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    if "INSERT INTO" in sql and "sockstream_sender_capture" in sql:
        raise DatabaseError("no room")
    return execute(sql, params, many, context)


def test_a_save_that_goes_round_the_transaction_is_refused(site: str) -> None:
    with pytest.raises(SockstreamError, match=r"transaction\.atomic"):
        models.Model.save_base(Slot(position=1), using=site)
    assert not Slot.objects.using(site).exists()
    with transaction.atomic(using=site):
        models.Model.save_base(Slot(position=1), using=site)
    assert replayed(take(site)) == truth(site)


def test_rollback_takes_the_captured_row_along(site: str) -> None:
    with transaction.atomic(using=site):
        Slot(position=1).save(using=site)
        with transaction.atomic(using=site):
            Slot(position=2).save(using=site)
            transaction.set_rollback(True, using=site)
    assert replayed(take(site)) == truth(site)
    assert len(truth(site)) == 1


def test_an_expression_is_read_back(site: str) -> None:
    slot = Slot(position=1)
    slot.save(using=site)
    slot.position = F("position") + 41
    slot.name = "not saved"
    slot.save(using=site, update_fields=["position"])
    assert take(site)[-1].values == {"position": 42, "name": ""}


def test_triggers_are_gone_and_nothing_drifts(site: str) -> None:
    assert capture.drift(site) == []
    signals.ignore()
    Slot.objects.using(site).create()
    assert take(site) == []


def test_nothing_is_left_of_it_afterwards(site: str) -> None:
    signals.ignore()
    assert "save_base" not in vars(Slot)
    assert Slot.save_base is models.Model.save_base


@pytest.mark.parametrize("site", ["site_pg"], indirect=True)
def test_postgresql_names_the_transaction_and_notifies(site: str) -> None:
    with closing(connections[site].copy()) as other:
        other.ensure_connection()
        other.connection.execute(f"LISTEN {CHANNEL}")
        other.connection.execute(f"SELECT pg_advisory_lock_shared({SLEEPS})")
        with transaction.atomic(using=site):
            Slot(position=1).save(using=site)
            Slot(position=2).save(using=site)
        assert len(list(other.connection.notifies(timeout=5, stop_after=1))) == 1
    first, second = take(site)
    assert first.txid == second.txid
    assert first.txid is not None
