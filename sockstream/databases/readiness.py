"""Whether a database is ready: it answers, and its migrations are applied."""

from __future__ import annotations

from collections.abc import Collection

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections
from django.db import Error as DatabaseError
from django.db.migrations.executor import MigrationExecutor

from sockstream.exceptions import ConfigError, SockstreamError

from .trouble import BUSY, FULL, READ_ONLY, trouble

_MENDS = {
    BUSY: "Find out who holds its locks, or raise its timeout",
    FULL: "Free space on the disk of its server",
    READ_ONLY: "If it stays so, let DATABASES name the server that accepts writes",
}


def require_migrations(using: str, labels: Collection[str] = ()) -> None:
    """Check that the migrations of the apps `labels` (all, if none is named) are applied.

    Raises SockstreamError: "database-unreachable", or "migrations" with the command to run.
    """
    connection = connections[using]
    try:
        executor = MigrationExecutor(connection)
        leaves = executor.loader.graph.leaf_nodes()
        targets = [node for node in leaves if not labels or node[0] in labels]
        missing = sorted({migration.app_label for migration, _ in executor.migration_plan(targets)})
    except DatabaseError as error:
        raise unreachable(using, error) from error
    if missing:
        flag = "" if using == DEFAULT_DB_ALIAS else f" --database {using}"
        raise SockstreamError(
            "migrations",
            f"Database {using!r} lacks migrations of {', '.join(missing)}",
            f"Run manage.py migrate{flag}",
        )


def require_autocommit(using: str) -> None:
    """Raises ConfigError if DATABASES opens a transaction with the connection."""
    if not connections[using].settings_dict["AUTOCOMMIT"]:
        raise ConfigError(
            f'DATABASES[{using!r}]["AUTOCOMMIT"] is False, so Django commits nothing by itself',
            "Remove it: sockstream needs to decide when a transaction begins and ends",
        )


def locks_late(using: str) -> bool:
    """Whether transactions on SQLite take its lock at their first write only, as is its default.

    One that has read by then is refused at once if anybody has committed since.
    """
    connection = connections[using]
    mode = connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED"
    return connection.vendor == "sqlite" and mode.upper() == "DEFERRED"


def require_early_locks(using: str) -> None:
    """Raises ConfigError where the application would be refused because we write beside it."""
    if locks_late(using):
        raise ConfigError(
            f"Transactions on the SQLite database {using!r} that read and then write would fail "
            '("database is locked") whenever sockstream has written in between',
            f'Add "transaction_mode": "IMMEDIATE" to DATABASES[{using!r}]["OPTIONS"], '
            "and restart the application, too",
        )


def unreachable(using: str, error: Exception) -> SockstreamError:
    """The one line for a database that does not answer."""
    met = trouble(error)
    first = met.error if met else error
    # Drivers add lines of hints, and one more for each address that they tried.
    words = next(iter(str(first).strip().splitlines()), type(first).__name__)
    return SockstreamError(
        "database-unreachable",
        f"Database {using!r} cannot be used: {words}",
        _MENDS.get(met.code if met else "", "Check DATABASES, and that its server runs"),
    )


def is_unreachable(error: Exception) -> bool:
    """Whether the database is in trouble, and `error` is no bug of ours."""
    return isinstance(error, OperationalError | InterfaceError) or trouble(error) is not None
