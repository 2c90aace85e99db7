"""`flush`, as after each TransactionTestCase: what it takes away from capture is put back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.sql import emit_post_migrate_signal
from django.db import connections, transaction
from django.test import override_settings

from polls.models import Tag
from sockstream.conf import Settings, settings
from sockstream.sender import capture
from sockstream.sender.capture import flushing, installing
from sockstream.sender.capture.dialects import dialect_of
from sockstream.sender.models import Batch, Capture, CaptureLayout, Installed
from sockstream.sender.oplog.sequencer import Sequencer
from tests.databases import empty


@pytest.fixture
def site(site: str) -> Iterator[str]:
    capture.install(site)
    flushing.remember(site)
    yield site
    capture.install(site)
    flushing.remember(site)


def flush(site: str) -> None:
    """As the command does it, whose SQL for SQLite stumbles over names of tables of ours."""
    empty(connections[site])
    for model in (CaptureLayout, Installed):
        model._base_manager.using(site).all().delete()
    emit_post_migrate_signal(verbosity=0, interactive=False, db=site)


def layouts(site: str) -> list[Any]:
    return sorted(CaptureLayout.objects.using(site).values_list())


def is_captured(site: str) -> bool:
    Tag.objects.using(site).create(name="after it")
    for _ in Sequencer(site, Settings(MODELS=settings().MODELS)).steps():
        pass
    return Batch.objects.using(site).exists()


def test_it_is_put_back_without_an_installation(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = layouts(site)
    with monkeypatch.context() as patched:
        patched.delattr(installing, "install")
        flush(site)
        flush(site)
    assert layouts(site) == before
    assert capture.drift(site) == []
    assert is_captured(site)


def test_what_is_not_as_it_was_is_installed(site: str) -> None:
    dialect = dialect_of(connections[site])
    gone = next(name for name in dialect.found() if name.table.endswith("polls_tag"))
    dialect.execute(dialect.drop(gone))
    flush(site)
    assert capture.drift(site) == []
    assert is_captured(site)


def test_other_settings_are_heeded(site: str) -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["polls"]}):
        flush(site)
        assert capture.drift(site) == []
    flush(site)
    assert capture.drift(site) == []


def test_a_flush_of_another_process_installs(site: str) -> None:
    flushing._remembered.clear()
    flush(site)
    assert capture.drift(site) == []
    assert is_captured(site)


@pytest.mark.parametrize("site", ["site_pg"], indirect=True)
def test_tables_that_flush_truncates_leave_nothing_to_number(site: str) -> None:
    """The stream begins anew, with layouts that may be others."""
    Tag.objects.using(site).create(name="before it")
    call_command("flush", database=site, verbosity=0, interactive=False, reset_sequences=False)
    assert not Capture.objects.using(site).exists()


@pytest.mark.parametrize("site", ["site_pg"], indirect=True)
def test_tables_differ_by_the_types_of_their_columns(site: str) -> None:
    connection = connections[site]
    before = dialect_of(connection).tables
    assert dialect_of(connection).tables == before
    with transaction.atomic(using=site):
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE polls_tag ALTER name TYPE text")
        assert dialect_of(connection).tables != before
        transaction.set_rollback(True, using=site)
