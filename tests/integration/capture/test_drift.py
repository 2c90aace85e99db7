"""What is installed is compared with what has to be, mended, and removed."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from sockstream.sender import capture
from sockstream.sender.capture.dialects import dialect_of
from sockstream.sender.models import Capture, CaptureLayout, Installed
from tests.integration.capture.replay import replayed, take, take_all, truth
from tests.zoo.models import Author, Essay, Slot


@pytest.fixture(autouse=True)
def whole(site: str) -> Iterator[None]:
    yield
    capture.install(site)
    assert capture.drift(site) == []


def _triggers(using: str) -> list[str]:
    found = dialect_of(connections[using]).found()
    return [name.name for name in found if name.kind == "trigger"]


def _drop(using: str, part: str) -> None:
    dialect = dialect_of(connections[using])
    [name] = [
        name
        for name in dialect.found()
        if name.kind == "trigger"
        and part in name.name
        and name.table.endswith(("zoo_slot", 'zoo_slot"'))
    ]
    dialect.execute(dialect.drop(name))


def test_nothing_drifts_after_migrate(site: str) -> None:
    assert capture.drift(site) == []


def test_a_second_installation_changes_nothing(site: str) -> None:
    before = _triggers(site)
    with connections[site].execute_wrapper(_refuse_changes):
        capture.install(site)
    assert _triggers(site) == before


def _refuse_changes(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    assert not sql.lstrip().upper().startswith(("CREATE", "DROP", "INSERT", "ALTER")), sql
    return execute(sql, params, many, context)


@pytest.mark.parametrize("event", ["insert", "update", "delete"])
def test_a_dropped_trigger_is_found_and_mended(site: str, event: str) -> None:
    _drop(site, f"sockstream_{event}")
    [words] = capture.drift(site)
    assert "is missing" in words
    assert event in words
    capture.install(site)
    assert capture.drift(site) == []
    slot = Slot.objects.using(site).create()
    slot.save(using=site)
    slot.delete(using=site)
    assert [record.op for record in take(site)] == ["I", "U", "D"]


@pytest.mark.parametrize("site", ["site_pg"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        'ALTER TABLE zoo_slot DISABLE TRIGGER "!sockstream_insert"',
        'ALTER TABLE zoo_slot ENABLE TRIGGER "!sockstream_update"',
        'ALTER TABLE zoo_slot ENABLE REPLICA TRIGGER "!sockstream_delete"',
        'DROP TRIGGER "!sockstream_truncate" ON zoo_slot',
        'DROP TRIGGER "!sockstream_notify" ON sockstream_sender_capture',
        "ALTER FUNCTION sockstream_notify() SECURITY INVOKER",
        "ALTER FUNCTION sockstream_notify() RESET search_path",
        "CREATE OR REPLACE FUNCTION sockstream_notify() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
        "$$ BEGIN RETURN NULL; END $$",
    ],
)
def test_whatever_is_changed_on_postgresql_is_found(site: str, change: str) -> None:
    with connections[site].cursor() as cursor:
        cursor.execute(change)
    assert len(capture.drift(site)) == 1


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
def test_a_trigger_of_other_contents_is_found(site: str) -> None:
    _drop(site, "sockstream_insert")
    with connections[site].cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER sockstream_insert_zoo_slot AFTER INSERT ON zoo_slot BEGIN SELECT 1; END"
        )
    [words] = capture.drift(site)
    assert "not as it has to be" in words


def test_a_layout_that_is_gone_is_found(site: str) -> None:
    CaptureLayout.objects.using(site).filter(model="zoo.slot").delete()
    assert "the layout of zoo.slot is missing" in capture.drift(site)


def test_what_is_no_longer_captured_is_left_over(site: str) -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "EXCLUDE": ["zoo.slot"]}):
        assert any("zoo_slot" in words and "left over" in words for words in capture.drift(site))
        capture.install(site)
        assert capture.drift(site) == []
        Slot.objects.using(site).create()
        assert take(site) == []


def test_removed_capture_captures_nothing(site: str) -> None:
    capture.remove(site)
    Slot.objects.using(site).create()
    assert take(site) == []
    assert _triggers(site) == []
    assert len(capture.drift(site)) > 100


def test_rows_that_were_there_before_are_sent_first(site: str) -> None:
    """Parents first, by a snapshot, when a model is captured for the first time; never again."""
    capture.remove(site)
    author = Author.objects.using(site).create(name="a")
    Essay.objects.using(site).create(title="t", author=author).readers.add(author)
    Installed.objects.using(site).all().delete()
    [words] = capture.install(site)
    assert words.startswith("zoo.author and 2 more: rows from before")
    records = take_all(site)
    assert [record.model for record in records] == ["zoo.author", "zoo.essay", "zoo.essay_readers"]
    assert replayed(records) == truth(site)
    assert capture.install(site) == []
    assert take_all(site) == []


def test_the_command(site: str) -> None:
    assert "is as it has to be" in _call(site, "status")
    assert "is removed" in _call(site, "remove")
    with pytest.raises(CommandError, match=r"not as it has to be.*oplog_capture install"):
        _call(site, "status")
    assert "is installed" in _call(site, "install")
    assert "is as it has to be" in _call(site, "status")


def _call(using: str, *arguments: str) -> str:
    out = StringIO()
    call_command("oplog_capture", *arguments, database=using, stdout=out)
    return out.getvalue()


def test_a_database_without_the_senders_tables_is_left_alone(site: str) -> None:
    assert capture.drift("central_sqlite") == ["the sender's tables are missing"]
    capture.install("central_sqlite")
    assert not Capture.objects.using(site).exists()
