"""What Django's checks say about a site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import CheckMessage
from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.test.utils import isolate_apps

from sockstream.sender import checks

ROOT = Path(__file__).parents[3]


def _found(**given: Any) -> list[CheckMessage]:
    with override_settings(SOCKSTREAM=given):
        return checks.check_models()


def _ids(**given: Any) -> set[str]:
    return {str(message.id) for message in _found(**given)}


def test_polls_need_nothing() -> None:
    assert _found(MODELS=["polls"]) == []


def test_an_unknown_key_and_its_neighbour() -> None:
    [message] = _found(MODLES=["polls"])
    assert message.id == "sockstream.E001"
    assert "'MODELS'" in str(message.hint)


def test_no_setting_at_all() -> None:
    with override_settings():
        from django.conf import settings

        del settings.SOCKSTREAM
        [message] = checks.check_models()
    assert message.id == "sockstream.E001"


def test_an_unknown_model() -> None:
    [message] = _found(MODELS=["polls.nothing"])
    assert message.id == "sockstream.E002"
    assert "polls.nothing" in message.msg


def test_no_models() -> None:
    assert _ids(MODELS=[]) == {"sockstream.W001"}


def test_signals_and_their_blind_spots() -> None:
    [message] = _found(MODELS=["polls"], CAPTURE="signals")
    assert message.id == "sockstream.W002"
    assert "update()" in message.msg


def test_keys_that_another_site_gives_too() -> None:
    [message] = _found(MODELS=["zoo.counter"])
    assert message.id == "sockstream.W004"
    assert "UUID" in str(message.hint)


def test_a_reference_to_a_model_that_stays_at_home() -> None:
    [message] = _found(MODELS=["polls"], EXCLUDE=["polls.question"])
    assert message.id == "sockstream.W005"
    assert "polls.question" in message.msg


def test_many_models_are_one_message_a_kind() -> None:
    """Among hundreds of lines nobody would see the one that matters."""
    messages = _found(MODELS=["zoo", "zoo_pg", "zoo_raw", "polls"])
    kinds = [message.id for message in messages]
    assert len(kinds) == len(set(kinds))
    [numbered] = [message for message in messages if message.id == "sockstream.W004"]
    count, shown = re.search(r"(\d+) models \((.*), \.\.\.\)", numbered.msg).groups()  # type: ignore[union-attr]
    assert int(count) > 3
    assert len(shown.split(", ")) == 3


def test_content_types_and_permissions_are_at_central() -> None:
    assert _found(MODELS=["zoo.label", "zoo.grant"]) == []


def test_a_column_of_an_unknown_type() -> None:
    messages = _found(MODELS=["zoo_pg.searchable"])
    assert [message.id for message in messages] == ["sockstream.W006"]


@isolate_apps("tests.zoo")
def test_a_model_that_is_not_managed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(models.Model):
        class Meta:
            app_label = "zoo"
            managed = False

    monkeypatch.setattr(apps, "get_models", lambda: [Foreign])
    assert "sockstream.W003" in _ids(MODELS=["zoo"])
    assert "sockstream.W003" not in _ids(MODELS=["zoo.counter"])


def test_mysql_and_cascades_of_the_database() -> None:
    if not hasattr(models, "DB_CASCADE"):
        pytest.skip("Django 6.1 is the first that lets the database cascade")
    from tests.zoo.models import Branch, Fruit, Root

    messages = checks._check_mysql("default", [Branch, Root, Fruit])
    assert [message.id for message in messages] == ["sockstream.W008"]


@contextmanager
def sqlite(name: str) -> Iterator[BaseDatabaseWrapper]:
    """The default database, as Django makes it when nothing else is set."""
    before = connections["default"]
    connection = before.copy("elsewhere")
    connection.settings_dict = before.settings_dict | {"NAME": name, "OPTIONS": {}}
    connections["default"] = connection
    try:
        yield connection
    finally:
        connections["default"] = before
        # Its own close() leaves a database in memory open.
        BaseDatabaseWrapper.close(connection)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BaseDatabaseWrapper]:
    with sqlite(str(tmp_path / "db")) as connection:
        yield connection


def _ids_on_sqlite() -> list[str]:
    return [str(message.id) for message in checks._check_sqlite("default", [])]


def test_sqlite_as_django_makes_it(file: BaseDatabaseWrapper) -> None:
    assert _ids_on_sqlite() == ["sockstream.W007", "sockstream.W009"]


def test_sqlite_with_wal(file: BaseDatabaseWrapper) -> None:
    with file.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
    assert _ids_on_sqlite() == ["sockstream.W009"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (None, ["sockstream.W009"]),
        ("deferred", ["sockstream.W009"]),
        ("immediate", []),
        ("EXCLUSIVE", []),
    ],
)
def test_when_transactions_take_the_lock(
    file: BaseDatabaseWrapper, mode: str | None, expected: list[str]
) -> None:
    with file.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode = WAL")
    file.settings_dict["OPTIONS"]["transaction_mode"] = mode
    assert _ids_on_sqlite() == expected


def test_sqlite_in_memory() -> None:
    with sqlite(":memory:"):
        assert _ids_on_sqlite() == []


def test_every_id_is_documented() -> None:
    source = (ROOT / "sockstream/sender/checks.py").read_text()
    page = (ROOT / "docs/checks.md").read_text()
    ids = {part.split('"')[0] for part in source.split('id="sockstream.')[1:]}
    assert len(ids) > 10
    assert [number for number in sorted(ids) if f"sockstream.{number}" not in page] == []
