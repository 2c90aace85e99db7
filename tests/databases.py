"""The tests' databases: started and migrated at the first use, emptied before every test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from tests.servers import MariaDB, PostgreSQL, find_mariadb

# What migrations and post_migrate put there: it belongs to the schema, not to a test.
KEPT = {
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "sockstream_sender_capturelayout",
    "sockstream_sender_installed",
}
LOCK_WAIT_MS = 10_000
# SQLite joins no more than 500.
AT_ONCE = 400


@dataclass(frozen=True)
class Pair:
    """The aliases of a site's database and of central's, both migrated and empty."""

    site: str
    central: str


class Databases:
    """The servers and files of one pytest session. Nothing is started before it is asked for.

    `fsync`: PostgreSQL waits for the disk at a commit, which tests do not need.
    """

    def __init__(self, *, fsync: bool = False) -> None:
        self._fsync = fsync
        self._stack = ExitStack()
        self._migrated: set[str] = set()
        self._server: PostgreSQL | None = None
        self._failed: dict[str, Exception] = {}

    def folder(self) -> str:
        """Where the SQLite files are."""
        if "SOCKSTREAM_TEST_FOLDER" not in os.environ:
            folder = tempfile.mkdtemp(prefix="sockstream-")
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._publish("SOCKSTREAM_TEST_FOLDER", folder)
            for alias, database in settings.DATABASES.items():
                if database["ENGINE"].endswith("sqlite3"):
                    connections[alias].close()
                    database["NAME"] = str(Path(folder, f"{alias}.sqlite3"))
        return os.environ["SOCKSTREAM_TEST_FOLDER"]

    def clean(self, *aliases: str) -> None:
        """Make these databases exist, migrated and empty."""
        for alias in aliases:
            self._start(alias)
            if alias not in self._migrated:
                call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
                self._migrated.add(alias)
            empty(connections[alias])

    def close(self) -> None:
        """Stop what was started."""
        connections.close_all()
        self._stack.close()

    def _start(self, alias: str) -> None:
        """Start what serves this alias. What could not be started once is not tried again."""
        start = {"pg": self.postgresql, "maria": self.mariadb}.get(
            alias.rpartition("_")[2], self.folder
        )
        if error := self._failed.get(start.__name__):
            raise error
        try:
            start()
        except (OSError, RuntimeError) as error:
            self._failed[start.__name__] = error
            raise

    def postgresql(self) -> None:
        """Start PostgreSQL. It is never skipped: its server comes with the test requirements."""
        if "SOCKSTREAM_TEST_POSTGRESQL" not in os.environ:
            server = self._server = self._stack.enter_context(PostgreSQL(fsync=self._fsync))
            for name in ("site_pg", "central_pg"):
                server.execute(f"CREATE DATABASE {name}")
                server.execute("CREATE EXTENSION hstore", database=name)
            self._reach("postgresql", server.port)
            self._publish("SOCKSTREAM_TEST_POSTGRESQL", str(server.port))

    def new_postgresql(self, name: str) -> str:
        """Make an empty database beside the others, with no alias; its URL."""
        self.postgresql()
        assert self._server is not None
        self._server.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://postgres@{self._server.address}/{name}"

    def mariadb(self) -> None:
        """Start MariaDB, or skip the test that asks for it if there is none on this machine."""
        if find_mariadb() is None:
            pytest.skip("MariaDB's server (mariadbd) was not found on this machine")
        if "SOCKSTREAM_TEST_MARIADB" not in os.environ:
            server = self._stack.enter_context(MariaDB())
            for name in ("site_maria", "central_maria"):
                server.execute(f"CREATE DATABASE {name}")
            self._reach("mysql", server.port)
            self._publish("SOCKSTREAM_TEST_MARIADB", str(server.port))

    def _reach(self, vendor: str, port: int) -> None:
        for database in settings.DATABASES.values():
            if database["ENGINE"].endswith(vendor):
                database["PORT"] = str(port)

    def _publish(self, name: str, value: str) -> None:
        os.environ[name] = value
        self._stack.callback(os.environ.pop, name)


def empty(connection: BaseDatabaseWrapper) -> None:
    """Delete every row but KEPT. The sender's tables come last: the triggers fire until then."""
    if connection.in_atomic_block:
        connection.close()
        # A connection that is closed in a transaction forgets it only then.
        connection.connect()
    elif connection.connection is not None and not connection.is_usable():
        connection.close()
    tables = set(connection.introspection.table_names()) - KEPT
    ours = {table for table in tables if table.startswith("sockstream_")}
    with connection.cursor() as cursor, _unguarded(connection, cursor):
        for table in [*_filled(connection, cursor, tables - ours), *sorted(ours)]:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")


def _filled(
    connection: BaseDatabaseWrapper, cursor: CursorWrapper, tables: Iterable[str]
) -> list[str]:
    """Those of the tables that have a row, many by one query."""
    quote = connection.ops.quote_name
    names, filled = sorted(tables), []
    while some := names[:AT_ONCE]:
        del names[:AT_ONCE]
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT {number} WHERE EXISTS (SELECT 1 FROM {quote(name)})"
                for number, name in enumerate(some)
            )
        )
        filled += [some[number] for (number,) in cursor.fetchall()]
    return filled


@contextmanager
def _unguarded(connection: BaseDatabaseWrapper, cursor: CursorWrapper) -> Iterator[None]:
    """Without foreign keys, so that the order of deletes does not matter; never waits for long."""
    before, after = {
        "postgresql": (
            f"SET session_replication_role = replica; SET lock_timeout = {LOCK_WAIT_MS}",
            "SET session_replication_role = DEFAULT; SET lock_timeout = DEFAULT",
        ),
        "mysql": (
            f"SET foreign_key_checks = 0, innodb_lock_wait_timeout = {LOCK_WAIT_MS // 1000}",
            "SET foreign_key_checks = 1, innodb_lock_wait_timeout = DEFAULT",
        ),
        "sqlite": ("PRAGMA foreign_keys = OFF", "PRAGMA foreign_keys = ON"),
    }[connection.vendor]
    cursor.execute(before)
    try:
        yield
    finally:
        cursor.execute(after)
