"""Whose fault a database's error is, told by the exceptions that the drivers really raise."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace
from typing import Any

import psycopg
import pymysql
import pytest
from django import db

from sockstream.databases.readiness import is_unreachable, unreachable
from sockstream.databases.trouble import is_about_a_table, trouble

DJANGO: Any = db


def wrapped(cause: Exception, name: str = "") -> db.Error:
    """`cause` as Django raises it: under the class of the same name, or `name`."""
    error: db.Error = getattr(DJANGO, name or _dbapi_name(cause))(*cause.args)
    error.__cause__ = cause
    return error


def _dbapi_name(cause: Exception) -> str:
    names = (class_.__name__ for class_ in type(cause).__mro__)
    return next(name for name in names if hasattr(DJANGO, name))


def postgresql(state: str, words: str = "words") -> db.Error:
    """As psycopg 3 raises it: the class goes by the state."""
    return wrapped(psycopg.errors.lookup(state)(words))


def psycopg2(state: str | None, words: str = "words", name: str = "OperationalError") -> db.Error:
    """As psycopg 2 raises it, which need not be installed: it has `pgcode` and no `sqlstate`."""
    class_ = type(name, (Exception,), {"__module__": "psycopg2", "pgcode": state})
    return wrapped(class_(words), name)


def mysql(number: int, words: str = "words", sqlstate: str | None = "HY000") -> db.Error:
    """As PyMySQL >= 1.2 raises it, from the packet that a server sends."""
    state = f"#{sqlstate}" if sqlstate else ""
    packet = b"\xff" + number.to_bytes(2, "little") + f"{state}{words}".encode()
    with pytest.raises(pymysql.err.Error) as raised:
        pymysql.err.raise_mysql_exception(packet)
    return wrapped(raised.value)


def mysqlclient(number: int, name: str = "OperationalError") -> db.Error:
    """As mysqlclient raises it, which need not be installed: a number and nothing else."""
    class_ = type(name, (Exception,), {"__module__": "MySQLdb._exceptions"})
    return wrapped(class_(number, "words"), name)


def client_side(number: int) -> db.Error:
    """As PyMySQL raises what its own side of the connection meets."""
    return wrapped(pymysql.err.OperationalError(number, "words"))


def sqlite(code: int, class_: type[sqlite3.Error] = sqlite3.OperationalError) -> db.Error:
    cause = class_("words")
    cause.sqlite_errorcode = code
    return wrapped(cause)


def code(error: BaseException) -> str | None:
    found = trouble(error)
    return found.code if found else None


POSTGRESQL: dict[str, list[Any]] = {
    "db-readonly": ["25006"],
    "disk-full": ["53100"],
    "retry": ["25P03", "25P04", "40001", "40P01", "55P03", "57014"],
    "db-unavailable": [
        *("08006", "3D000", "28P01", "53300", "53200", "57P01", "57P03", "57P05"),
        *("58030", "58P01", "XX001"),
    ],
}
MYSQL: dict[str, list[Any]] = {
    "db-readonly": [1290, 1792, 1836, 1036],
    "disk-full": [1021, 1114],
    "retry": [1205, 1213, 1969, 1317, 3024, 1412, 1206, 3572],
    "db-unavailable": [1040, 1045, 1049, 1053, 1158, 1159, 1160, 1161, 1203, 1927, 1030, 1047],
}
# Of the record, or of a table: no table of codes has them.
REFUSALS: dict[str, list[Any]] = {
    "postgresql": ["22001", "22P02", "23503", "23505", "42501", "42P01", "XX000", "25P02"],
    "mysql": [1054, 1062, 1146, 1142, 1153, 1264, 1366, 1406, 1451, 1452, 1644, 4025],
}


def rows(table: dict[str, list[Any]]) -> list[tuple[Any, str]]:
    return [(each, meaning) for meaning, all_of_it in table.items() for each in all_of_it]


@pytest.mark.parametrize(("state", "meaning"), rows(POSTGRESQL))
def test_postgresql_is_in_trouble(state: str, meaning: str) -> None:
    assert code(postgresql(state)) == meaning
    # psycopg 2 has the same states, and files some under other classes.
    for name in ("OperationalError", "InternalError", "DatabaseError"):
        assert code(psycopg2(state, name=name)) == meaning


@pytest.mark.parametrize("state", REFUSALS["postgresql"])
def test_postgresql_refuses(state: str) -> None:
    assert code(postgresql(state)) is None
    assert code(psycopg2(state, name="DatabaseError")) is None


@pytest.mark.parametrize(("number", "meaning"), rows(MYSQL))
@pytest.mark.parametrize("sqlstate", ["HY000", "40001", "08S01", None])
def test_mysql_is_in_trouble_whatever_its_sqlstate(
    number: int, meaning: str, sqlstate: str | None
) -> None:
    assert code(mysql(number, sqlstate=sqlstate)) == meaning
    assert code(mysqlclient(number)) == meaning


@pytest.mark.parametrize("number", REFUSALS["mysql"])
@pytest.mark.parametrize("sqlstate", ["HY000", "22001", "42S02", "23000"])
def test_mysql_refuses(number: int, sqlstate: str) -> None:
    assert code(mysql(number, sqlstate=sqlstate)) is None
    assert code(mysqlclient(number)) is None


@pytest.mark.parametrize("number", [2002, 2003, 2006, 2013, 2026])
def test_the_client_of_mysql_has_lost_its_server(number: int) -> None:
    assert code(client_side(number)) == "db-unavailable"


@pytest.mark.parametrize(
    "cause",
    [
        pymysql.err.InterfaceError(0, ""),
        psycopg.OperationalError("the connection is closed"),
        psycopg.InterfaceError("connection already closed"),
        sqlite3.OperationalError("no code"),
    ],
)
def test_a_driver_without_a_connection_has_no_code(cause: Exception) -> None:
    assert code(wrapped(cause)) == "db-unavailable"


@pytest.mark.parametrize(
    ("extended", "meaning"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "retry"),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, "retry"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "db-readonly"),
        (sqlite3.SQLITE_IOERR_WRITE, "db-unavailable"),
        (sqlite3.SQLITE_FULL, "disk-full"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "db-unavailable"),
        (sqlite3.SQLITE_ERROR, None),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
        (sqlite3.SQLITE_TOOBIG, None),
    ],
)
def test_sqlite_says_it_in_the_low_byte(extended: int, meaning: str | None) -> None:
    assert code(sqlite(extended)) == meaning


def test_a_damaged_file_blames_no_record() -> None:
    """SQLite's is a plain DatabaseError."""
    assert code(sqlite(sqlite3.SQLITE_CORRUPT_VTAB, sqlite3.DatabaseError)) == "db-unavailable"


def test_the_error_of_another_kind_of_thing_is_no_trouble() -> None:
    assert code(ValueError("words")) is None
    assert code(OSError(28, "No space left on device")) is None


# What comes after a lost connection only says that it is lost.


def raised_after(first: Exception, then: Exception) -> Exception:
    try:
        try:
            raise first
        except type(first):
            raise then  # noqa: B904 -- as a rollback does that fails in its turn
    except type(then) as error:
        return error


LOST = [
    wrapped(psycopg.OperationalError("the connection is closed")),
    wrapped(psycopg.InterfaceError("the connection is closed")),
    postgresql("25P02", "current transaction is aborted"),
]


@pytest.mark.parametrize("then", LOST, ids=str)
def test_the_first_error_of_an_attempt_is_told(then: Exception) -> None:
    first = postgresql("25P04", "terminating connection due to transaction timeout")
    found = trouble(raised_after(first, then))
    assert found is not None
    assert (found.code, found.words) == ("retry", str(first))


def test_the_first_of_three_is_told() -> None:
    first = mysql(1969, "Query execution was interrupted (max_statement_time exceeded)")
    second = raised_after(first, client_side(2013))
    found = trouble(raised_after(second, client_side(2006)))
    assert found is not None
    assert (found.code, "max_statement_time" in found.words) == ("retry", True)


def test_a_lost_connection_is_not_blamed_on_a_record_before_it() -> None:
    refused = postgresql("23505", "duplicate key")
    lost = wrapped(psycopg.OperationalError("server closed the connection unexpectedly"))
    found = trouble(raised_after(refused, lost))
    assert found is not None
    assert (found.code, found.words) == ("db-unavailable", str(lost))


def test_a_record_is_blamed_although_the_database_was_busy_before() -> None:
    assert trouble(raised_after(postgresql("55P03"), postgresql("23505"))) is None


def test_errors_that_point_at_each_other_end() -> None:
    one, two = (wrapped(psycopg.OperationalError(words)) for words in ("one", "two"))
    one.__context__, two.__context__ = two, one
    assert code(one) == "db-unavailable"


# What would be wrong with the next record too.


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (postgresql("42501"), True),
        (postgresql("42P01"), True),
        (psycopg2("42501", name="ProgrammingError"), True),
        (postgresql("22001"), False),
        (psycopg2("22001", name="DataError"), False),
        (postgresql("P0001"), False),
        (mysql(1142, sqlstate="42000"), True),
        (mysql(1054, sqlstate="42S22"), True),
        (mysqlclient(1146, "ProgrammingError"), True),
        (mysql(1644, sqlstate="45000"), False),
        (mysqlclient(1644), False),
        (mysql(1406, sqlstate="22001"), False),
        (sqlite(sqlite3.SQLITE_ERROR), True),
        (sqlite(sqlite3.SQLITE_CONSTRAINT_NOTNULL, sqlite3.IntegrityError), False),
    ],
)
def test_a_table_is_at_fault(error: db.Error, found: bool) -> None:
    assert is_about_a_table(error) == found


# The one line for it.


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (postgresql("25006"), "let DATABASES name the server that accepts writes"),
        (mysql(1290), "let DATABASES name the server that accepts writes"),
        (sqlite(sqlite3.SQLITE_FULL), "Free space on the disk"),
        (postgresql("25P04"), "raise its timeout"),
        (client_side(2003), "that its server runs"),
    ],
)
def test_a_line_has_the_mend_of_its_trouble(error: db.Error, mend: str) -> None:
    assert is_unreachable(error)
    told = unreachable("default", error)
    assert told.code == "database-unreachable"
    assert mend in told.mend


def test_a_line_is_one_line() -> None:
    error = wrapped(psycopg.OperationalError("connection failed\nIs the server running?\n"))
    assert unreachable("default", error).words.endswith("cannot be used: connection failed")


def test_a_bug_is_not_hidden() -> None:
    assert not is_unreachable(postgresql("42703"))
    assert not is_unreachable(wrapped(psycopg.errors.lookup("23505")("duplicate key")))
    assert not is_unreachable(SimpleNamespace())  # type: ignore[arg-type]
