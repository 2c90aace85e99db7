"""MySQL and MariaDB: JSON by JSON_ARRAY.

A trigger's name holds the hash of what it does, since it cannot be replaced in a transaction: the
new one is made before the old one goes. Cascades of foreign keys and TRUNCATE fire no triggers on
these databases; the checks name the models concerned.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from hashlib import blake2b

from sockstream.databases import origin
from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan
from sockstream.sender.capture.tables import Tables

from .base import PREFIX, Dialect, Name, Thing, shortened

_NAME_LENGTH = 64
_PLAIN = {Kind.INT, Kind.BOOL, Kind.DURATION}
_NUMBERED = {"bit", "year"}
"""Types that are numbers only where one is asked for."""


class MySQL(Dialect):
    """A trigger keeps the sql_mode and the character set of the session that made it."""

    vendor = "mysql"
    own_write = f"{origin.VARIABLE} IS NULL"
    transactional = False

    def look(self) -> Tables:
        rows = self.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE()"
        )
        return Tables(self.connection, rows, str.lower)

    def of_table(self, plan: Plan) -> dict[Name, Thing]:
        things = {}
        for event, body in self._bodies(plan).items():
            name = _trigger_name(event, plan.row.table, body)
            create = (
                f"CREATE TRIGGER {self.quote(name)} AFTER {event.upper()} "
                f"ON {self.table(plan.row.table)} FOR EACH ROW {body}"
            )
            things[Name("trigger", plan.row.table, name)] = Thing(body, (create,))
        return things

    def found(self) -> dict[Name, str]:
        rows = self.execute(
            "SELECT event_object_table, trigger_name, action_statement "
            "FROM information_schema.triggers "
            "WHERE trigger_schema = DATABASE() AND trigger_name LIKE %s",
            [PREFIX.replace("_", r"\_") + "%"],
        )
        return {Name("trigger", table, name): body for table, name, body in rows}

    def drop(self, name: Name) -> str:
        return f"DROP TRIGGER IF EXISTS {self.quote(name.name)}"

    def copy(self, plan: Plan, condition: str) -> str:
        return f"{super().copy(plan, condition)} LOCK IN SHARE MODE"

    def value(self, column: Column, sql: str) -> str:
        if column.kind is Kind.BINARY:
            return f"HEX({sql})"
        base = column.type.base if column.type is not None else ""
        if base in _NUMBERED:
            return f"({sql} + 0)"
        if column.kind in _PLAIN:
            return sql
        if base == "float":
            # As a text it has six digits.
            sql = f"({sql} + 0e0)"
        if base == "timestamp":
            sql = self._timestamp(sql)
        text = f"CONVERT({sql} USING utf8mb4)"
        # Else MariaDB puts the JSON itself into the array, and its numbers lose digits.
        return f"CONCAT({text},'')" if column.kind is Kind.JSON else text

    def _timestamp(self, sql: str) -> str:
        """What Django reads of a TIMESTAMP, whatever time zone the session that writes has.

        Its number of seconds has no zone; a date of zeros has no such number.
        """
        micros = f"UNIX_TIMESTAMP({sql}) * 1000000"
        utc = f"TIMESTAMPADD(MICROSECOND,{micros},'1970-01-01 00:00:00.000000')"
        return f"IF({sql} + 0 = 0,{sql},CONVERT_TZ({utc},'+00:00','{self._zone}'))"

    @functools.cached_property
    def _zone(self) -> str:
        """The time zone of Django's sessions."""
        [(zone,)] = self.execute("SELECT @@SESSION.time_zone")
        return str(zone)

    def array(self, items: Iterable[str]) -> str:
        return f"JSON_ARRAY({','.join(items)})"

    def distinct(self, sql: str) -> str:
        return f"NOT ({sql} <=> %s)"

    def embedded(self, subselect: str) -> str:
        return f"JSON_EXTRACT({subselect},'$')"

    def _bodies(self, plan: Plan) -> dict[str, str]:
        keys = [self.quote(column.column) for column in plan.row.key]
        changed = " OR ".join(f"NOT (BINARY OLD.{key} <=> BINARY NEW.{key})" for key in keys)
        insert = self._put("'I'", plan, self.row_data(plan, "NEW"))
        delete = self._put("'D'", plan, self.key_data(plan, "OLD"))
        op = f"IF({changed},'I','U')"
        update = self._put(op, plan, self.row_data(plan, "NEW"))
        bodies = {
            "insert": insert,
            "delete": delete,
            "update": f"BEGIN IF {changed} THEN {delete}; END IF; {update}; END",
        }
        if not self.only_if:
            return bodies
        return {
            event: f"BEGIN IF {self.only_if} THEN {body}; END IF; END"
            for event, body in bodies.items()
        }

    def _put(self, op: str, plan: Plan, data: str) -> str:
        return (
            f"INSERT INTO {self.capture_table} (op, layout, data) "
            f"VALUES ({op}, {plan.number}, {data})"
        )


def _trigger_name(event: str, table: str, body: str) -> str:
    digest = blake2b(f"{table} {body}".encode(), digest_size=8).hexdigest()
    start = shortened(f"{PREFIX}{event}_{table}", _NAME_LENGTH - len(digest) - 1)
    return f"{start}_{digest}"
