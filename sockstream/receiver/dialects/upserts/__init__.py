"""Multi-row statements, one file a dialect."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from .base import Shape as Shape
from .base import Statements as Statements


def statements(shape: Shape, connection: BaseDatabaseWrapper) -> Statements:
    """The statements of `shape` in the dialect of `connection`."""
    if connection.vendor == "postgresql":
        from .postgresql import PostgreSQLStatements

        return PostgreSQLStatements(shape, connection)
    if connection.vendor == "sqlite":
        from .sqlite import SQLiteStatements

        return SQLiteStatements(shape, connection)
    from .mysql import MySQLStatements

    return MySQLStatements(shape, connection)
