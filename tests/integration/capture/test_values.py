"""Every type is captured as it is, whatever the writing session's settings are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections, models, router

from sockstream.conf import settings
from sockstream.rows import captured_models, describe
from tests.integration.capture.replay import replayed, take, truth
from tests.integration.pair.values import a_few_of_each, odd_values, odd_values_of_postgresql
from tests.zoo.models import Everything, Parameter

HOSTILE = {
    "postgresql": [
        "SET TimeZone = 'Asia/Kathmandu'",
        "SET DateStyle = 'SQL, DMY'",
        "SET IntervalStyle = 'sql_standard'",
        "SET bytea_output = 'escape'",
        "SET extra_float_digits = -5",
        "SET search_path = ''",
        "SET session_replication_role = replica",
    ],
    "mysql": [
        "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'",
        "SET time_zone = '+05:45'",
        "SET character_set_connection = latin1",
    ],
    "sqlite": ["PRAGMA recursive_triggers = ON", "PRAGMA reverse_unordered_selects = ON"],
}


def test_odd_values(site: str) -> None:
    _save_odd_values(site)
    assert replayed(take(site)) == truth(site)


def test_rows_of_every_model(site: str) -> None:
    chosen = _models(site)
    a_few_of_each(chosen, site)
    assert replayed(take(site)) == truth(site)
    for model in chosen:
        assert describe(model).label in {label for label, _ in truth(site, chosen)}


def test_the_sessions_settings_do_not_matter(site: str) -> None:
    _save_odd_values(site)
    a_few_of_each(_models(site), site)
    expected = replayed(take(site))
    with _hostile(site):
        touch_everything(site)
    records = take(site)
    assert {record.op for record in records} == {"U"}
    assert replayed(records, expected) == expected == truth(site)


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
def test_a_value_of_another_type_refuses_no_write(site: str) -> None:
    Everything.objects.using(site).create()
    take(site)
    odd = {"text": "x'00ff'", "integer": "'abc'", "float": "'x'", "datetime": "12.5", "uuid": "3"}
    with connections[site].cursor() as cursor:
        changes = ", ".join(f'"{column}" = {value}' for column, value in odd.items())
        cursor.execute(f"UPDATE zoo_everything SET {changes}, binary = 'text'")
    [record] = take(site)
    got = {name: record.values[name] for name in (*odd, "binary")}
    assert got == {
        "text": b"\x00\xff",
        "integer": "abc",
        "float": "x",
        "datetime": "1.25e+01",
        "uuid": "3",
        "binary": "text",
    }


@pytest.mark.parametrize("number", [889745.6403767141, 66.40432840371071, 1 / 3, 2.0**-1074, 1e23])
def test_every_digit_of_a_float(site: str, number: float) -> None:
    """quote() of SQLite 3.40 gives 15 digits of the first two, and takes them for exact."""
    if connections[site].vendor == "mysql" and number < sys.float_info.min:
        pytest.skip("MySQL has no denormal numbers")
    Everything.objects.using(site).create(float=number)
    [record] = take(site)
    assert record.values["float"] == number


def test_the_case_of_a_key_is_changed(site: str) -> None:
    """To a collation that ignores case, the keys are equal; at central they may be two rows."""
    Parameter.objects.using(site).create(name="a")
    before = replayed(take(site))
    Parameter.objects.using(site).update(name="A")
    records = take(site)
    assert [record.op for record in records] == ["D", "I"]
    assert replayed(records, before) == truth(site)


def touch_everything(using: str) -> None:
    """Update every captured row by raw SQL, with tables named by their schema."""
    connection = connections[using]
    quote = connection.ops.quote_name
    schema = "public." if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        for model in _models(using):
            column = quote(describe(model).key[0].column)
            table = schema + quote(model._meta.db_table)
            cursor.execute(f"UPDATE {table} SET {column} = {column}")


def _save_odd_values(using: str) -> None:
    vendor = connections[using].vendor
    for row in odd_values([vendor]):
        row.save(using=using)
    if vendor == "postgresql":
        for other in odd_values_of_postgresql():
            other.save(using=using)


def _models(using: str) -> list[type[models.Model]]:
    return [
        model for model in captured_models(settings()) if router.allow_migrate_model(using, model)
    ]


@contextmanager
def _hostile(using: str) -> Iterator[None]:
    connection = connections[using]
    with connection.cursor() as cursor:
        for statement in HOSTILE[connection.vendor]:
            cursor.execute(statement)
    try:
        yield
    finally:
        connection.close()
