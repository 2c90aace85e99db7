"""MySQL and MariaDB: foreign keys are looked at after each statement, so nothing can be put off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.databases import origin

from .base import Dialect
from .upserts.mysql import MySQLStatements, max_packet

_ADD_HELD = (
    "INSERT INTO {0} (holding, generation, name, `key`) VALUES (%s, %s, %s, %s) "
    "ON DUPLICATE KEY UPDATE generation = VALUES(generation)"
)
_EFFECTS = (
    "SELECT 1 FROM information_schema.triggers WHERE trigger_schema = DATABASE() "
    "AND LEFT(trigger_name, 11) <> %s AND event_object_table = %s "
    "UNION ALL SELECT 1 FROM information_schema.referential_constraints "
    "WHERE constraint_schema = DATABASE() AND referenced_table_name IN (%s, %s) "
    "AND delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')"
)

# Without the first, a value that does not fit is cut, and without the second the key 0 becomes the
# next number.
_STRICT = (
    "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO')"
)


class MySQL(Dialect):
    """MySQL and MariaDB, with mysqlclient or PyMySQL."""

    vendor = "mysql"
    statements = MySQLStatements
    add_held_sql = _ADD_HELD
    effects_sql = _EFFECTS
    puts_off_constraints = False

    def prepare(self, cursor: CursorWrapper) -> None:
        cursor.execute(_STRICT)

    @contextmanager
    def strict(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@SESSION.sql_mode")
            [before] = cursor.fetchone()
            cursor.execute(_STRICT)
        try:
            yield
        finally:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET SESSION sql_mode = %s", [before])
            except Error:
                # Nobody knows its mode, and a new one has the application's.
                connection.close()

    def most_bytes(self, cursor: CursorWrapper) -> int:
        return max_packet(cursor)

    def pass_capture_by(self, cursor: CursorWrapper) -> None:
        cursor.execute(f"SET {origin.VARIABLE} = 1")

    def capture_again(self, cursor: CursorWrapper) -> None:
        cursor.execute(f"SET {origin.VARIABLE} = NULL")

    def capture_after_failure(self, cursor: CursorWrapper) -> None:
        """A variable is not rolled back."""
        self.capture_again(cursor)
