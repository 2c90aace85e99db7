"""What Django's checks say about central."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver import checks
from tests.databases import Databases


def ids(messages: object) -> list[str | None]:
    return [message.id for message in messages]  # type: ignore[attr-defined]


@contextmanager
def pragma(using: str, statement: str, after: str) -> Iterator[None]:
    with connections[using].cursor() as cursor:
        cursor.execute(f"PRAGMA {statement}")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA {after}")


@pytest.fixture
def sqlite(databases: Databases) -> str:
    databases.clean("central_sqlite")
    return "central_sqlite"


@pytest.mark.parametrize(
    ("synchronous", "found"), [("NORMAL", ["sockstream.E102"]), ("FULL", []), ("EXTRA", [])]
)
def test_a_commit_has_to_wait_for_the_disk(synchronous: str, found: list[str], sqlite: str) -> None:
    with pragma(sqlite, f"synchronous = {synchronous}", "synchronous = NORMAL"):
        assert ids(checks.check_databases(databases=[sqlite])) == found
        assert checks.synchronous_enough(sqlite) == (not found)


def test_a_journal_that_makes_readers_wait(sqlite: str) -> None:
    with (
        pragma(sqlite, "synchronous = FULL", "synchronous = NORMAL"),
        pragma(sqlite, "journal_mode = DELETE", "journal_mode = WAL"),
    ):
        assert ids(checks.check_databases(databases=[sqlite])) == ["sockstream.W102"]


def test_other_databases_are_left_alone(databases: Databases) -> None:
    databases.clean("site_sqlite", "central_pg")
    assert ids(checks.check_databases(databases=["site_sqlite", "central_pg"])) == []
    assert ids(checks.check_databases(databases=None)) == []
    assert checks.synchronous_enough("central_pg")


def test_models_are_known() -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        assert ids(checks.check_models()) == []
    with override_settings(SOCKSTREAM={"MODELS": ["poll"]}):
        (message,) = checks.check_models()
        assert message.id == "sockstream.E101"
        assert "'poll'" in message.msg
        assert message.hint


def test_integer_keys_collide() -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["zoo.counter", "zoo.tree"]}):
        (message,) = checks.check_models()
    assert message.id == "sockstream.W101"
    assert "zoo.Counter" in message.msg


ADMIN = """
import django; django.setup()
from django.contrib import admin
from django.test import RequestFactory
from django.contrib.auth.models import User
from sockstream.receiver.models import Offset, Owner, Source
request = RequestFactory().get("/")
request.user = User(is_superuser=True)
for model in (Source, Offset, Owner):
    shown = admin.site.get_model_admin(model)
    print(shown.has_add_permission(request), shown.has_change_permission(request))
shown = admin.site.get_model_admin(Source)
print([name for name in shown.get_fields(request) if name not in shown.readonly_fields])
"""


def test_only_name_and_disabled_can_be_changed_in_the_admin() -> None:
    """In a process of its own: the tests' settings have no admin."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "receiver.settings"}
    command = [sys.executable, "-c", ADMIN]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "False True",
        "False False",
        "False False",
        "['new_name', 'disabled']",
    ]
