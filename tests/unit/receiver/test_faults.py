"""Whose fault a database's error is."""

from __future__ import annotations

import sqlite3

import pymysql
import pytest
from django.db import DatabaseError, InterfaceError, OperationalError

from sockstream.receiver.applying.faults import RecordFault, blame, transient


def raised(error: DatabaseError | InterfaceError, cause: Exception | None) -> Exception:
    """`error` as Django raises it, with the driver's as its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (pymysql.err.OperationalError(1213, "Deadlock found"), "retry"),
        (pymysql.err.OperationalError(1021, "Disk full"), "disk-full"),
        (pymysql.err.OperationalError(2013, "Lost connection"), "db-unavailable"),
        (pymysql.err.OperationalError(1290, "--read-only"), "db-readonly"),
        (pymysql.err.OperationalError(1054, "Unknown column"), None),
        (sqlite3.OperationalError("no code of SQLite's, so it is not reached"), "db-unavailable"),
        (None, "db-unavailable"),
    ],
)
def test_only_what_the_database_says_of_itself_is_transient(
    cause: Exception | None, code: str | None
) -> None:
    found = transient(raised(OperationalError("words"), cause))
    assert (found and found.code) == code


def test_what_is_no_error_of_a_database_is_not_transient() -> None:
    assert transient(ValueError("words")) is None


def test_a_fault_without_a_reason_still_names_the_record() -> None:
    error = blame(RecordFault("polls.tag", "red", 7))
    assert (error.code, error.model, error.key, error.seq) == (
        "record-refused",
        "polls.tag",
        "red",
        7,
    )
