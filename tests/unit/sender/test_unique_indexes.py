"""SQLite's unique indexes are read with all that they can hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from sockstream.sender.capture.dialects.unique_indexes import UniqueIndex, unique_indexes


def _indexes(*statements: str) -> list[UniqueIndex]:
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)

    def execute(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return connection.execute(sql.replace("%s", "?"), params).fetchall()

    found = unique_indexes(execute, "t", lambda name: f'"{name}"')
    connection.close()
    return found


def _clashes(*statements: str) -> list[str]:
    return [index.clash("r") for index in _indexes(*statements)]


def test_the_rowid_by_its_other_name() -> None:
    assert _clashes("CREATE TABLE t (id integer PRIMARY KEY, a)") == ['r."id" = NEW."id"']


def test_a_key_of_several_columns() -> None:
    [clash] = _clashes("CREATE TABLE t (a integer, b text COLLATE NOCASE, PRIMARY KEY (a, b))")
    assert clash == ('r."a" = NEW."a" COLLATE "BINARY" AND r."b" = NEW."b" COLLATE "NOCASE"')


def test_no_index_no_clash() -> None:
    assert _clashes("CREATE TABLE t (a, b)", "CREATE INDEX plain ON t (a)") == []


@pytest.mark.parametrize(
    ("sql", "there", "where"),
    [
        ("(lower(a))", ["(lower(a))"], ""),
        ("(a, lower(b) DESC)", ['{row}."a"', "(lower(b))"], ""),
        ("(replace(a, ',', ')') ASC, b)", ["(replace(a, ',', ')'))", '{row}."b"'], ""),
        ("(a) WHERE b > 0", ['{row}."a"'], "b > 0"),
        ("(a)WHERE(b > 0)", ['{row}."a"'], "(b > 0)"),
        ("(a || \"b c\") WHERE a <> 'WHERE ('", ['(a || "b c")'], "a <> 'WHERE ('"),
        ("((a + 1) * 2)", ["((a + 1) * 2)"], ""),
    ],
)
def test_expressions_and_conditions(sql: str, there: list[str], where: str) -> None:
    [index] = _indexes('CREATE TABLE t (a, b, "b c")', f'CREATE UNIQUE INDEX "on (t)" ON "t" {sql}')
    assert [term for term, _ in index.terms] == there
    assert index.where == where
    assert index.is_plain == (there == ['{row}."a"'] and not where)
