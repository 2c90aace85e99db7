"""What was written while triggers were missing, by whatever hand, is found and sent again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddField, AlterField, RemoveField
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.test import override_settings

from sockstream.conf import settings as get_settings
from sockstream.exceptions import SockstreamError
from sockstream.sender import capture
from sockstream.sender.capture import missed
from sockstream.sender.capture.dialects import dialect_of
from sockstream.sender.models import Due, Installed
from sockstream.sender.oplog import store
from sockstream.sender.oplog.due import DueSnapshots
from sockstream.sender.service import Service
from tests.databases import Databases
from tests.integration.capture.replay import replayed, take, take_all, truth
from tests.zoo.models import Author, Essay, Slot


@pytest.fixture(autouse=True)
def whole(site: str) -> Iterator[None]:
    yield
    capture.install(site)
    Due.objects.using(site).all().delete()
    assert capture.drift(site) == []


def _without(using: str, *events: str) -> None:
    """Drop the triggers of zoo.slot for these events."""
    dialect = dialect_of(connections[using])
    for name in dialect.found():
        of_slot = name.table.strip('"').endswith("zoo_slot")
        if name.kind == "trigger" and of_slot and any(event in name.name for event in events):
            dialect.execute(dialect.drop(name))


def _away_and_back(using: str) -> None:
    """Another table takes the place of zoo_slot for a moment."""
    with connections[using].cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_slot RENAME TO zoo_slot_away")
        try:
            cursor.execute("CREATE TABLE zoo_slot (id integer)")
            cursor.execute("DROP TABLE zoo_slot")
        finally:
            cursor.execute("ALTER TABLE zoo_slot_away RENAME TO zoo_slot")


def _excluded(using: str) -> None:
    own = settings.SOCKSTREAM
    with override_settings(SOCKSTREAM=own | {"EXCLUDE": [*own.get("EXCLUDE", []), "zoo.slot"]}):
        capture.install(using)
        Slot.objects.using(using).create(name="while it was excluded")
    capture.install(using)


def _written_without(using: str, *events: str) -> None:
    _without(using, *events)
    Slot.objects.using(using).update(name="changed")
    Slot.objects.using(using).create(name="while they were missing")
    Slot.objects.using(using).filter(name="goes").delete()
    assert capture.lost(using) == ["zoo.slot"]
    capture.install(using)


@pytest.mark.parametrize(
    "how",
    [
        _away_and_back,
        _excluded,
        capture.remove,
        lambda using: _written_without(using, "insert"),
        lambda using: _written_without(using, "update"),
        lambda using: _written_without(using, "delete"),
        lambda using: _written_without(using, "insert", "update", "delete"),
    ],
    ids=["renamed", "excluded", "removed", "insert", "update", "delete", "all"],
)
def test_a_snapshot_of_the_model_is_due(site: str, how: Callable[[str], Any]) -> None:
    Slot.objects.using(site).create(name="goes")
    stays = Author.objects.using(site).create(name="stays")
    take_all(site)
    how(site)
    capture.install(site)
    due = set(Due.objects.using(site).values_list("model", flat=True))
    assert "zoo.slot" in due
    assert how is capture.remove or due == {"zoo.slot"}
    assert capture.lost(site) == []
    records = take_all(site)
    assert not Due.objects.using(site).exists()
    last = {record.key: record for record in records if record.model == "zoo.slot"}
    assert replayed([record for record in last.values() if record.op != "D"]) == truth(site, [Slot])
    stays.save(using=site)
    assert [record.op for record in take(site)] == ["U"]


def test_what_another_hand_disabled_on_postgresql(databases: Databases) -> None:
    """Loaders switch all triggers off and on again: ours are not as they were, and that is seen."""
    site = "site_pg"
    databases.clean(site)
    with connections[site].cursor() as cursor:
        cursor.execute("ALTER TABLE zoo_slot DISABLE TRIGGER ALL")
        Slot.objects.using(site).create(name="loaded")
        cursor.execute("ALTER TABLE zoo_slot ENABLE TRIGGER ALL")
    assert capture.lost(site) == ["zoo.slot"]
    assert take_all(site) == []
    [words] = capture.install(site)
    assert "zoo.slot: writes while triggers were missing" in words
    assert [record.op for record in take_all(site)] == ["S"]


@contextmanager
def _writes_between(using: str, written: list[Author]) -> Iterator[None]:
    """A second connection writes after every statement that this one makes, where it may."""
    connection = connections[using]
    other = connection.copy()
    depth = 0

    def write(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            result = execute(sql, params, many, context)
        finally:
            depth -= 1
        if depth == 0 and not connection.in_atomic_block and not sql.startswith("BEGIN"):
            _insert(other, written)
        return result

    connection.execute_wrappers.insert(0, write)
    try:
        yield
    finally:
        connection.execute_wrappers.remove(write)
        other.close()


def _insert(other: BaseDatabaseWrapper, written: list[Author]) -> None:
    author = Author(name=f"number {len(written)}")
    key = author.id if other.features.has_native_uuid_field else author.id.hex
    sql = "INSERT INTO zoo_author (id, name) VALUES (%s, %s)"
    if "zoo_author" in other.introspection.table_names():
        with other.cursor() as cursor:
            cursor.execute(sql, [key, author.name])
        written.append(author)


def _token() -> str:
    return uuid4().hex


def _apply(editor: BaseDatabaseSchemaEditor, *operations: Operation) -> None:
    """Change the tables of these models as a migration does."""
    state = ProjectState()
    for model in (Author, Slot):
        state.add_model(ModelState.from_model(model))
    for operation in operations:
        before = state.clone()
        operation.state_forwards("zoo", state)
        operation.database_forwards("zoo", editor, before, state)


def _altered(model: str, length: int) -> AlterField:
    return AlterField(model, "name", models.CharField(max_length=length, default=""))


@pytest.mark.parametrize("order", range(3))
def test_others_write_while_the_schema_changes_step_by_step(site: str, order: int) -> None:
    """`atomic = False`: each statement is a transaction, and no write between two goes by."""
    connection = connections[site]
    Author.objects.using(site).create(name="before")
    before = take_all(site)
    written: list[Author] = []
    adding = [
        AddField("author", "extra", models.IntegerField(null=True)),
        AddField("author", "token", models.CharField(max_length=40, null=True, default=_token)),
        AddField("author", "later", models.IntegerField(null=True, default=7, db_index=True)),
    ]
    random.Random(order).shuffle(adding)
    mentor: models.ForeignKey[Any, Any] = models.ForeignKey(
        "zoo.author", models.SET_NULL, null=True, related_name="pupils"
    )
    changes = [*adding, _altered("author", 51), _altered("author", 50)]
    changes += [RemoveField("author", each.name) for each in adding]
    changes += [RemoveField("author", "mentor"), AddField("author", "mentor", mentor)]
    with _writes_between(site, written), connection.schema_editor(atomic=False) as editor:
        _apply(editor, *changes)
    assert len(written) > 5
    assert capture.lost(site) == []
    capture.install(site)
    due = Due.objects.using(site).filter(model="zoo.author").exists()
    last = {record.key: record for record in [*before, *take_all(site)]}
    state, expected = replayed(last.values()), truth(site, [Author])
    nothing = {"mentor": None}  # as records have it that were captured without the column
    assert {key: nothing | state[key] for key in expected} == expected
    # What SQLite's new table lacks, the snapshot takes away at central.
    assert due == (connection.vendor == "sqlite")
    assert due or state.keys() == expected.keys()


@pytest.mark.parametrize("atomic", [True, False])
def test_a_column_that_comes_and_goes_is_no_loss(site: str, atomic: bool) -> None:
    """The database needs no new table for it, so no snapshot is due."""
    Slot.objects.using(site).create()
    take_all(site)
    extra = models.IntegerField(null=True)
    with connections[site].schema_editor(atomic=atomic) as editor:
        _apply(editor, AddField("slot", "extra", extra), RemoveField("slot", "extra"))
        Slot.objects.using(site).update(name="b")
    assert not Due.objects.using(site).exists()
    assert [record.op for record in take(site)] == ["U"]


def test_a_schema_that_changes_in_one_transaction_is_no_loss(site: str) -> None:
    """SQLite makes the table anew; nobody can write meanwhile, so no snapshot is due."""
    connection = connections[site]
    author = Author.objects.using(site).create(name="a")
    Essay.objects.using(site).create(title="t", author=author)
    take_all(site)
    with connection.schema_editor() as editor:
        _apply(editor, _altered("author", 201), _altered("author", 200))
        Author.objects.using(site).update(name="b")
    assert not Due.objects.using(site).exists()
    assert capture.drift(site) == []
    Essay.objects.using(site).update(title="u")
    assert [(record.model, record.op) for record in take(site)] == [
        ("zoo.author", "U"),
        ("zoo.essay", "U"),
    ]


def test_a_transaction_that_somebody_began_by_hand(databases: Databases) -> None:
    """Django can take no part in it, so nothing is refreshed: it is seen afterwards."""
    site = "site_sqlite"
    databases.clean(site)
    Slot.objects.using(site).create(name="before")
    take_all(site)
    with connections[site].cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ALTER TABLE zoo_slot RENAME COLUMN name TO called")
        cursor.execute("ALTER TABLE zoo_slot RENAME COLUMN called TO name")
        cursor.execute("UPDATE zoo_slot SET name = 'changed'")
        cursor.execute("COMMIT")
    assert "zoo.slot" in capture.lost(site)
    capture.install(site)
    [record] = [record for record in take_all(site) if record.model == "zoo.slot"]
    assert (record.op, record.values["name"]) == ("S", "changed")


def test_a_process_that_knows_older_models_takes_no_snapshot_of_them(site: str) -> None:
    Slot.objects.using(site).create()
    take_all(site)
    Installed.objects.using(site).filter(model="zoo.slot").update(layout=1)
    missed.note(site, {"zoo.slot": missed.GAINED})
    with pytest.raises(SockstreamError, match=r"zoo\.slot was changed .* Restart oplog_send"):
        take_all(site)
    assert Due.objects.using(site).exists()


def test_a_snapshot_that_waited_at_its_end_waits_for_nothing_more(site: str) -> None:
    due = DueSnapshots(site, get_settings(), lambda words: None)
    due._steps = (step for step in (1, None))
    assert [due.step(), due.waits] == [True, False]
    assert [due.step(), due.waits] == [False, True]
    assert [due.step(), due.waits] == [True, False]
    assert [due.step(), due.waits] == [False, False]


def test_what_stands_in_the_way_of_a_snapshot_is_said_once(site: str) -> None:
    store.stream(site)
    report = Mock()
    service = Service(site, get_settings(), Mock(), report, Mock(), Mock())
    service._intake = Mock(error=None)

    def refused() -> bool:
        raise SockstreamError("models-changed", "It was changed")

    for _ in range(3):
        assert not service._catch_up(refused)
    assert report.trouble.call_count == 1
    assert store.stream(site).error_code == "models-changed"
    assert service._catch_up(lambda: True)
    assert store.stream(site).error_code == ""
