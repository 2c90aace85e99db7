"""MySQL and MariaDB: foreign keys are looked at after each statement, so nothing can be put off."""

from __future__ import annotations

from .base import Dialect
from .upserts.mysql import MySQLStatements

_ADD_HELD = (
    "INSERT INTO {0} (holding, generation, name, `key`) VALUES (%s, %s, %s, %s) "
    "ON DUPLICATE KEY UPDATE generation = VALUES(generation)"
)


class MySQL(Dialect):
    """MySQL and MariaDB, with mysqlclient or PyMySQL."""

    vendor = "mysql"
    statements = MySQLStatements
    add_held_sql = _ADD_HELD
    puts_off_constraints = False
