"""Whether a database is ready: it answers, and its migrations are applied."""

from __future__ import annotations

from collections.abc import Collection

from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from django.db.migrations.executor import MigrationExecutor

from sockstream.exceptions import SockstreamError


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


def unreachable(using: str, error: Exception) -> SockstreamError:
    """The one line for a database that does not answer."""
    # Drivers add lines of hints, and one more for each address that they tried.
    words = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return SockstreamError(
        "database-unreachable",
        f"Database {using!r} cannot be used: {words}",
        "Check DATABASES, and that its server runs",
    )
