"""All that differs between databases at central: one file a database, one `Dialect` each."""

from __future__ import annotations

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.exceptions import ConfigError

from .base import Dialect
from .foreign_keys import ForeignKey, Known
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite
from .upserts import Shape, Statements

_DIALECTS: dict[str, Dialect] = {each.vendor: each for each in (SQLite(), PostgreSQL(), MySQL())}


def dialect(using: str) -> Dialect:
    """The dialect of the database `using`. Raises ConfigError for one that central cannot be."""
    return dialect_of(connections[using])


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """The dialect that this connection speaks. Raises ConfigError as `dialect` does."""
    try:
        return _DIALECTS[connection.vendor]
    except KeyError:
        raise ConfigError(
            f"Database {connection.alias!r} is {connection.display_name}, "
            "which sockstream cannot use at central",
            "Use PostgreSQL, MariaDB, MySQL or SQLite",
        ) from None


def statements(shape: Shape, connection: BaseDatabaseWrapper) -> Statements:
    """The statements of `shape` in the dialect of `connection`."""
    return dialect_of(connection).statements(shape, connection)


__all__ = [
    "Dialect",
    "ForeignKey",
    "Known",
    "Shape",
    "Statements",
    "dialect",
    "dialect_of",
    "statements",
]
