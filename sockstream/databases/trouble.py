"""Whose fault a database's error is, by the code that the database gave it.

Django's classes do not tell: it files a read-only PostgreSQL under InternalError, and a column
that is missing in MySQL under OperationalError. Which table of codes counts is told by the driver
that raised the error, not by the attributes that it has: PyMySQL has a `sqlstate` too, and MySQL's
are too coarse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import Error, InterfaceError, OperationalError

AWAY, BUSY, FULL, READ_ONLY = "db-unavailable", "retry", "disk-full", "db-readonly"

_SQLITE = {
    5: BUSY,
    6: BUSY,  # locked by another connection of this process, which shares its cache
    7: BUSY,  # no memory
    8: READ_ONLY,
    9: BUSY,  # interrupted
    10: AWAY,  # the disk failed
    11: AWAY,  # the file is damaged
    13: FULL,
    14: AWAY,  # the file cannot be opened
    15: BUSY,
    17: BUSY,  # the schema changed just now
    26: AWAY,  # the file is no database
}
_POSTGRESQL = {
    "08": AWAY,
    "25006": READ_ONLY,
    "25P03": BUSY,  # idle_in_transaction_session_timeout
    "25P04": BUSY,  # transaction_timeout
    "28": AWAY,  # the password, or pg_hba.conf
    "3D": AWAY,  # no such database
    "40": BUSY,
    "53100": FULL,
    "53": AWAY,
    "55P03": BUSY,  # lock_timeout
    "57014": BUSY,  # statement_timeout, or somebody cancelled it
    "57": AWAY,
    "58": AWAY,
    "72": BUSY,
    "F0": AWAY,
    "XX001": AWAY,  # damaged data
    "XX002": AWAY,
}
_MYSQL = {
    **dict.fromkeys((1015, 1016, 1030, 1034, 1035, 1037, 1041, 1053, 1077, 1079, 1080), AWAY),
    **dict.fromkeys((1040, 1042, 1043, 1044, 1045, 1047, 1049, 1129, 1130, 1135), AWAY),
    **dict.fromkeys((1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1189), AWAY),
    **dict.fromkeys((1180, 1181, 1194, 1195, 1203, 1218, 1226, 1317, 1927, 3032, 4031), AWAY),
    **dict.fromkeys((1021, 1114), FULL),
    **dict.fromkeys((1036, 1290, 1792, 1836), READ_ONLY),
    # Deadlocks, waits that took too long, a table that was altered just now.
    **dict.fromkeys((1020, 1038, 1205, 1206, 1213, 1412, 1613, 1614, 1637, 1689), BUSY),
    1317: BUSY,  # somebody killed the statement
    1969: BUSY,  # max_statement_time
    3024: BUSY,  # max_execution_time
    3058: BUSY,
    3101: BUSY,
    3572: BUSY,
    # The client's own: no connection, or no longer.
    **dict.fromkeys((2001, 2002, 2003, 2005, 2006, 2012, 2013, 2014, 2026, 2027, 2055), AWAY),
}
# PostgreSQL's syntax error: what hstore says of a text that it cannot read.
_MALFORMED = "42601"
# A table, a column or a right is missing.
_MYSQL_TABLES = {1054, 1064, 1142, 1143, 1146, 1227, 1305, 1356, 1370, 1449, 1932}
# The connection is lost, which may be the second thing that went wrong.
_LOST = {"08000", "08003", "08006", "25P02", 2006, 2013, 2014, 2055}

# Others were in the way: a lock that took too long, a deadlock, a serialization failure.
_CONFLICTS = {
    *(5, 6),  # SQLite
    *("40001", "40P01", "55P03"),
    *(1020, 1205, 1213),
}

Code = str | int | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """A database that cannot do it now, whatever the statement.

    `code` is of the wire's errors; `error` is the first one that told of it.
    """

    code: str
    error: BaseException

    @property
    def words(self) -> str:
        """The database's own, on one line."""
        return words_of(self.error)


def trouble(error: BaseException) -> Trouble | None:
    """The trouble that the database is in; None if it refuses this one statement, or is no
    database at all.

    A connection that is lost is told by each statement after it, so the first error of those that
    `error` was raised in the course of counts.
    """
    if not isinstance(error, Error):
        return None
    driver, said = _said_by(error)
    if said is None or said in _LOST:
        for earlier in _before(error):
            its_driver, its_code = _said_by(earlier)
            if its_code not in _LOST and (found := _meaning(its_driver, its_code)):
                return Trouble(found, earlier)
    code = _meaning(driver, said)
    # A driver that lost its connection has no code to tell.
    if code is None and said is None and isinstance(error, OperationalError | InterfaceError):
        code = AWAY
    return Trouble(code, error) if code else None


def is_conflict(error: BaseException) -> bool:
    """Whether the database rolled a transaction back for others that were in its way, so that the
    same once more may succeed."""
    _, said = _said_by(error)
    return said in _CONFLICTS


def is_about_a_table(error: BaseException) -> bool:
    """Whether the database misses a table or a column, or a right to it: not because of a value."""
    driver, said = _said_by(error)
    if driver is _of_postgresql and said is not None:
        return str(said).startswith("42") and said != _MALFORMED
    if driver is _of_mysql and said is not None:
        return said in _MYSQL_TABLES
    return isinstance(error, OperationalError)


def words_of(error: BaseException) -> str:
    """The database's own words, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _before(error: BaseException) -> Iterator[BaseException]:
    """The errors of databases in whose course this one was raised, the first one first."""
    found = [error]
    for each in found:
        for earlier in (each.__cause__, each.__context__):
            if earlier is not None and earlier not in found:
                found.append(earlier)
    return (each for each in reversed(found[1:]) if isinstance(each, Error))


def _of_sqlite(cause: BaseException) -> Code:
    number: int | None = getattr(cause, "sqlite_errorcode", None)
    return None if number is None else number & 0xFF


def _of_postgresql(cause: BaseException) -> Code:
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def _of_mysql(cause: BaseException) -> Code:
    number = getattr(cause, "errno", None) or (cause.args[0] if cause.args else None)
    # 0 is PyMySQL's for a connection that is closed.
    return number or None if isinstance(number, int) else None


Driver = Callable[[BaseException], Code]

_DRIVERS: dict[str, Driver] = {
    "sqlite3": _of_sqlite,
    "psycopg": _of_postgresql,
    "psycopg2": _of_postgresql,
    "MySQLdb": _of_mysql,
    "pymysql": _of_mysql,
    "mysql": _of_mysql,
    "mariadb": _of_mysql,
}


def _said_by(error: BaseException) -> tuple[Driver | None, Code]:
    """What reads the codes of the driver behind this error, and the code."""
    cause = error.__cause__ or error
    for class_ in type(cause).__mro__:
        if (driver := _DRIVERS.get(class_.__module__.partition(".")[0])) is not None:
            return driver, driver(cause)
    return None, None


def _meaning(driver: Driver | None, code: Code) -> str | None:
    if driver is _of_sqlite and isinstance(code, int):
        return _SQLITE.get(code)
    if driver is _of_postgresql and isinstance(code, str):
        return _POSTGRESQL.get(code) or _POSTGRESQL.get(code[:2])
    if driver is _of_mysql and isinstance(code, int):
        return _MYSQL.get(code)
    return None
