"""Migrations that change tables and write rows in turn, in one run of `migrate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from sockstream.sender import capture
from sockstream.sender.capture import migrating
from sockstream.sender.models import Due
from tests.databases import Databases
from tests.integration.capture.replay import replayed, take, take_all, truth
from tests.zoo.models import Author, Essay, Slot

ROOT = Path(__file__).parents[3]


def _empty_database(using: str, databases: Databases, folder: Path) -> dict[str, Any]:
    """The settings of a database of its own beside the site's."""
    settings = {
        key: value
        for key, value in connections[using].settings_dict.items()
        if key in {"ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS"}
    }
    if connections[using].vendor == "sqlite":
        return settings | {"NAME": str(folder / "shop.sqlite3")}
    if connections[using].vendor == "postgresql":
        databases.new_postgresql(folder.name)
    else:
        with connections[using].cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{folder.name}`")
    return settings | {"NAME": folder.name}


def test_rows_that_migrations_write_between_changes_of_their_table(
    site: str, databases: Databases, tmp_path: Path
) -> None:
    package = "tests.integration.capture.shop"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"{package}.run"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"{package}.settings",
            "SHOP_DATABASE": json.dumps(_empty_database(site, databases, tmp_path)),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture
def migrating_site(site: str) -> Iterator[str]:
    """A site whose triggers know all columns of the models, and a schema that changes."""
    yield site
    if connections[site].in_atomic_block:
        transaction.set_rollback(True, using=site)
    migrating.end(site)
    assert capture.drift(site) == []


def test_a_column_goes_and_rows_are_written(migrating_site: str) -> None:
    """The script of one migration, which PostgreSQL is given as one statement: what it writes is
    not captured, and sent by a snapshot.
    """
    site = migrating_site
    Slot.objects.using(site).create(position=1, name="a")
    with connections[site].cursor() as cursor:
        for statement in connections[site].ops.prepare_sql_script(
            "ALTER TABLE zoo_slot DROP COLUMN name; UPDATE zoo_slot SET position = 2"
        ):
            cursor.execute(statement)
        records = take(site)
        cursor.execute("ALTER TABLE zoo_slot ADD COLUMN name varchar(50) DEFAULT '' NOT NULL")
    if connections[site].vendor == "postgresql":
        assert [record.op for record in records] == ["I"]
        assert list(Due.objects.using(site).values_list("model", flat=True)) == ["zoo.slot"]
        records += take_all(site)
    assert [record.op for record in records] in (["I", "U"], ["I", "S"])
    assert records[1].values["position"] == 2


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
def test_a_migration_that_fails_leaves_the_triggers(migrating_site: str) -> None:
    site = migrating_site
    with transaction.atomic(using=site):
        with connections[site].cursor() as cursor:
            cursor.execute("ALTER TABLE zoo_slot DROP COLUMN name")
        Slot.objects.using(site).values("id").exists()
        transaction.set_rollback(True, using=site)
    assert capture.drift(site) == []
    Slot.objects.using(site).create()
    assert len(take(site)) == 1


def test_triggers_go_with_the_senders_tables(site: str) -> None:
    """`migrate sockstream_sender zero`: else every write would fail for want of them."""
    call_command("migrate", "sockstream_sender", "zero", database=site, verbosity=0)
    try:
        Slot.objects.using(site).create(position=5)
    finally:
        call_command("migrate", "sockstream_sender", database=site, verbosity=0)
    assert replayed(take_all(site)) == truth(site)
    assert capture.drift(site) == []


def test_flush_leaves_capture_as_it_has_to_be(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    Essay.objects.using(site).create(title="t", author=author)
    call_command("flush", database=site, verbosity=0, interactive=False, reset_sequences=False)
    assert capture.drift(site) == []
    Slot.objects.using(site).create(position=5)
    assert ("zoo.slot", "I") in {(record.model, record.op) for record in take(site)}
