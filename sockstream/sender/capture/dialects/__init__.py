"""All that differs between databases where rows are captured: one file a database."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.exceptions import ConfigError

from .base import PREFIX, Dialect, Name, Thing, differences
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

DIALECTS: dict[str, type[Dialect]] = {
    dialect.vendor: dialect for dialect in (SQLite, PostgreSQL, MySQL)
}


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """How this database captures. Raises ConfigError if it has no triggers that we know."""
    if connection.vendor not in DIALECTS:
        raise ConfigError(
            f"Triggers cannot capture on {connection.display_name}",
            'Set SOCKSTREAM["CAPTURE"] to "signals"',
        )
    return DIALECTS[connection.vendor](connection)


__all__ = ["DIALECTS", "PREFIX", "Dialect", "Name", "Thing", "dialect_of", "differences"]
