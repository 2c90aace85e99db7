"""MySQL and MariaDB: foreign keys are looked at after each statement, so nothing can be put off."""

from __future__ import annotations

from .base import Dialect
from .upserts.mysql import MySQLStatements

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


class MySQL(Dialect):
    """MySQL and MariaDB, with mysqlclient or PyMySQL."""

    vendor = "mysql"
    statements = MySQLStatements
    add_held_sql = _ADD_HELD
    effects_sql = _EFFECTS
    puts_off_constraints = False
