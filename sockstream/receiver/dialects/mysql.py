"""MySQL and MariaDB: foreign keys are looked at after each statement, or not at all.

So the applier's transactions are told not to look, and look themselves before they end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream.databases import origin

from .base import Dialect
from .foreign_keys import ForeignKey, Known
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

# The variable keeps the session's own setting.
_CHECKS = "@sockstream_foreign_key_checks"
_LOOK_AWAY = (
    f"SET {_CHECKS} = COALESCE({_CHECKS}, @@SESSION.foreign_key_checks), "
    "SESSION foreign_key_checks = 0"
)
_LOOK_AGAIN = (
    f"SET SESSION foreign_key_checks = COALESCE({_CHECKS}, @@SESSION.foreign_key_checks), "
    f"{_CHECKS} = NULL"
)
_FOREIGN_KEYS = (
    "SELECT k.table_schema = DATABASE(), k.referenced_table_schema = DATABASE(), "
    "k.constraint_schema, k.constraint_name, k.table_name, k.column_name, "
    "k.referenced_table_name, k.referenced_column_name, "
    "r.delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'), "
    "r.update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') "
    "FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r "
    "ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name "
    "AND r.table_name = k.table_name "
    "WHERE k.table_schema = DATABASE() OR k.referenced_table_schema = DATABASE()"
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
            self.look_again(connection)

    def defer_constraints(self, cursor: CursorWrapper) -> None:
        cursor.execute(_LOOK_AWAY)

    def look_again(self, connection: BaseDatabaseWrapper) -> None:
        if connection.connection is None:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(_LOOK_AGAIN)
        except Error:
            with suppress(Error):  # PyMySQL does not close a connection that is closed
                connection.close()

    @contextmanager
    def looking(self, cursor: CursorWrapper) -> Iterator[None]:
        cursor.execute("SET SESSION foreign_key_checks = 1")
        try:
            yield
        except BaseException:
            with suppress(Error):
                cursor.execute(_LOOK_AWAY)
            raise
        cursor.execute(_LOOK_AWAY)

    def foreign_keys(self, cursor: CursorWrapper) -> Known:
        cursor.execute(_FOREIGN_KEYS)
        rows = cursor.fetchall()
        widths = Counter(row[2:5] for row in rows)
        known = Known()
        for here, there, *name, column, parent, target, deletes, updates in rows:
            child = name[-1]
            if not (here and there) or widths[tuple(name)] > 1:
                known.looking |= {child.lower()} if here else set()
                known.looking |= {parent.lower()} if there else set()
                continue
            known.add(ForeignKey(child, column, parent, target))
            if deletes:
                known.acting.add(parent.lower())
            if updates:
                known.looking.add(parent.lower())
        return known

    def most_bytes(self, cursor: CursorWrapper) -> int:
        return max_packet(cursor)

    def pass_capture_by(self, cursor: CursorWrapper) -> None:
        cursor.execute(f"SET {origin.VARIABLE} = 1")

    def capture_again(self, cursor: CursorWrapper) -> None:
        cursor.execute(f"SET {origin.VARIABLE} = NULL")

    def capture_after_failure(self, cursor: CursorWrapper) -> None:
        """A variable is not rolled back."""
        self.capture_again(cursor)
