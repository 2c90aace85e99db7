"""MariaDB at central, where it differs: names of rows, keys that a collation folds, sql_mode."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connections

from sockstream.receiver.models import HeldRow
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Day, Parameter, Slot


@pytest.fixture
def maria(databases: Databases) -> str:
    databases.clean("central_maria")
    return "central_maria"


def test_a_row_may_have_any_key(maria: str) -> None:
    """What is noted of it is 16 bytes that need be no UUID."""
    feed = Feed()
    applier = feed.applier(maria)
    slots = [Slot(position=number) for number in range(60)]
    texts = [Parameter(name=f"key {number}") for number in range(60)]
    days = [Day(date=date(2026, 1, 1) + timedelta(number)) for number in range(60)]
    assert applier.apply([feed.insert(*slots, *texts, *days).batch()]).offset == 180
    assert HeldRow.objects.using(maria).count() == 180
    assert applier.apply([feed.update(*texts).delete(*days).batch()]).offset == 300
    assert HeldRow.objects.using(maria).count() == 120


def test_names_that_were_noted_as_native_uuids_stay(maria: str) -> None:
    """As an older version made the column, where MariaDB has such a type."""
    call_command("migrate", "sockstream_receiver", "0006", database=maria, verbosity=0)
    name = UUID("3abf8ddd-0000-7000-8000-00000000000a")
    table = HeldRow._meta.db_table
    with connections[maria].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} MODIFY name uuid NOT NULL")
        cursor.execute(
            f"INSERT INTO {table} (holding, generation, name) VALUES (1, 1, %s)", [str(name)]
        )
    call_command("migrate", "sockstream_receiver", database=maria, verbosity=0)
    assert HeldRow.objects.using(maria).get(name=name).name == name
    with connections[maria].cursor() as cursor:
        cursor.execute(f"SELECT name FROM {table}")
        assert cursor.fetchone() == (name.hex,)
