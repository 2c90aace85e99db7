"""SQLite: JSON by json_array, and what INSERT OR REPLACE takes away without a trigger.

REPLACE deletes the rows that are in the way, and fires no delete trigger for them (unless
recursive_triggers is on). So before an insert or update that some other row may be in the way of,
by any unique index, those rows are noted; after it, the ones that are gone are captured as deletes.
An insert that was ignored leaves its notes behind: they name rows that are still there, and are
cleared by the next write.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sockstream.databases import origin
from sockstream.exceptions import SockstreamError
from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan
from sockstream.sender.capture.tables import Tables

from .base import PREFIX, Dialect, Name, Thing
from .unique_indexes import UniqueIndex, unique_indexes

NOTES = "sockstream_sender_replaced"
_NOTES_SQL = f'CREATE TABLE "{NOTES}" (layout integer, row, data text)'
_APPLYING_SQL = f'CREATE TABLE "{origin.TABLE}" (applying integer)'
_DELETE = "'D'"
_ROWIDS = ("rowid", "_rowid_", "oid")
_WITHOUT_ROWID = re.compile(r"without\s+rowid[^()]*$", re.IGNORECASE)


class SQLite(Dialect):
    """Triggers use built-in functions alone, so that any program can write to the database."""

    vendor = "sqlite"
    own_write = f"NOT EXISTS (SELECT 1 FROM {origin.TABLE})"

    def look(self) -> Tables:
        rows = self.execute(
            "SELECT m.name, x.name FROM sqlite_master m, pragma_table_xinfo(m.name) x "
            "WHERE m.type = 'table'"
        )
        return Tables(self.connection, rows, str.lower)

    def shared(self, plans: Sequence[Plan]) -> dict[Name, Thing]:
        notes = Name("table", "", NOTES)
        things = {notes: Thing(_NOTES_SQL, (f'DROP TABLE IF EXISTS "{NOTES}"', _NOTES_SQL))}
        if self.only_if and plans:
            drop = f'DROP TABLE IF EXISTS "{origin.TABLE}"'
            applying = Thing(_APPLYING_SQL, (drop, _APPLYING_SQL))
            things[Name("table", "", origin.TABLE)] = applying
        return things

    def of_table(self, plan: Plan) -> dict[Name, Thing]:
        self._require_rowid(plan)
        things = {}
        for event, sql in self._triggers(plan).items():
            name = f"{PREFIX}{event}_{plan.row.table}"
            create = f"CREATE TRIGGER {self.quote(name)} {sql}"
            drop = f"DROP TRIGGER IF EXISTS {self.quote(name)}"
            things[Name("trigger", plan.row.table, name)] = Thing(create, (drop, create))
        return things

    def found(self) -> dict[Name, str]:
        rows = self.execute(
            "SELECT type, tbl_name, name, sql FROM sqlite_master WHERE name IN (%s, %s) "
            r"OR (type = 'trigger' AND name LIKE %s ESCAPE '\')",
            [NOTES, origin.TABLE, PREFIX.replace("_", r"\_") + "%"],
        )
        return {
            Name(kind, "" if kind == "table" else table, name): sql
            for kind, table, name, sql in rows
        }

    def drop(self, name: Name) -> str:
        return f"DROP {name.kind.upper()} IF EXISTS {self.quote(name.name)}"

    def in_transaction_by_hand(self) -> bool:
        connection = self.connection
        return not connection.in_atomic_block and connection.connection.in_transaction

    def in_the_way(self, table: str) -> list[Name]:
        named = self.quote(table).lower()
        triggers = ((name, sql) for name, sql in self.found().items() if name.kind == "trigger")
        return [name for name, sql in triggers if named in sql.lower()]

    def value(self, column: Column, sql: str) -> str:
        # JSON keeps 15 digits of a number and no blob at all, and any column can hold any type.
        real = f"printf('%!.20e',{sql})"
        if column.kind is Kind.BINARY:
            cases = "WHEN 'blob' THEN hex({0}) WHEN 'null' THEN NULL ELSE json_array({0}||'')"
            return f"CASE typeof({sql}) {cases.format(sql)} END"
        if column.kind is Kind.ANY:
            return (
                f"CASE typeof({sql}) WHEN 'real' THEN 'r'||{real} WHEN 'blob' THEN 'b'||hex({sql}) "
                f"WHEN 'text' THEN 't'||{sql} ELSE {sql} END"
            )
        blob = f"json_array(hex({sql}))"
        return f"CASE typeof({sql}) WHEN 'real' THEN {real} WHEN 'blob' THEN {blob} ELSE {sql} END"

    def array(self, items: Iterable[str]) -> str:
        return f"json_array({','.join(items)})"

    def distinct(self, sql: str) -> str:
        return f"{sql} IS NOT %s"

    def embedded(self, subselect: str) -> str:
        return f"json({subselect})"

    def _triggers(self, plan: Plan) -> dict[str, str]:
        table = self.table(plan.row.table)
        rowid = self._rowid(plan)
        triggers = self._noting(plan, table, rowid)
        triggers["insert"] = self._after_insert(plan, table, rowid)
        triggers["update"] = self._after_update(plan, table, rowid)
        triggers["delete"] = (
            f"AFTER DELETE ON {table} FOR EACH ROW {self._when()}BEGIN "
            f"{self._put(plan, _DELETE, self.key_data(plan, 'OLD'))}; "
            f"DELETE FROM {NOTES} WHERE layout = {plan.number} AND row = OLD.{rowid}; END"
        )
        return triggers

    def _after_insert(self, plan: Plan, table: str, rowid: str) -> str:
        # The row is read back, since an earlier trigger of somebody else may have changed it.
        gone = (
            f"n.layout = {plan.number} AND (n.row = NEW.{rowid} OR NOT EXISTS "
            f"(SELECT 1 FROM {table} r WHERE r.{rowid} = n.row))"
        )
        same = f"n.data = {self.key_data(plan, 'NEW')}"
        op = f"CASE WHEN EXISTS (SELECT 1 FROM {NOTES} n WHERE {gone} AND {same}) "
        op += "THEN 'U' ELSE 'I' END"
        taken = f" FROM {NOTES} n WHERE {gone} AND NOT {same}"
        row = f" FROM {table} r WHERE r.{rowid} = NEW.{rowid}"
        return (
            f"AFTER INSERT ON {table} FOR EACH ROW {self._when()}BEGIN "
            f"{self._put(plan, _DELETE, 'n.data')}{taken}; "
            f"{self._put(plan, op, self.row_data(plan, 'r'))}{row}; "
            f"DELETE FROM {NOTES} WHERE layout = {plan.number}; END"
        )

    def _after_update(self, plan: Plan, table: str, rowid: str) -> str:
        gone = (
            f"layout = {plan.number} AND (row = NEW.{rowid} AND NEW.{rowid} <> OLD.{rowid} "
            f"OR NOT EXISTS (SELECT 1 FROM {table} r WHERE r.{rowid} = {NOTES}.row))"
        )
        keys = [self.quote(column.column) for column in plan.row.key]
        changed = " OR ".join(f"OLD.{key} IS NOT NEW.{key} COLLATE BINARY" for key in keys)
        op = f"CASE WHEN {changed} THEN 'I' ELSE 'U' END"
        row = f" FROM {table} r WHERE r.{rowid} = NEW.{rowid}"
        return (
            f"AFTER UPDATE ON {table} FOR EACH ROW {self._when()}BEGIN "
            f"{self._put(plan, _DELETE, 'data')} FROM {NOTES} WHERE {gone}; "
            f"DELETE FROM {NOTES} WHERE {gone}; "
            f"{self._put(plan, _DELETE, self.key_data(plan, 'OLD'))} WHERE {changed}; "
            f"{self._put(plan, op, self.row_data(plan, 'r'))}{row}; END"
        )

    def _noting(self, plan: Plan, table: str, rowid: str) -> dict[str, str]:
        """The triggers that note the rows which a REPLACE may take away."""
        indexes = unique_indexes(self.execute, plan.row.table, self.quote)
        if not indexes:
            return {}
        note = (
            f"BEGIN DELETE FROM {NOTES} WHERE layout = {plan.number}; "
            f"INSERT INTO {NOTES} (layout, row, data) "
            f"SELECT {plan.number}, r.{rowid}, {self.key_data(plan, 'r')} FROM {table} r WHERE "
        )
        clashes = [index.clash("r") for index in indexes]
        either = " OR ".join(f"({clash})" for clash in clashes)
        others = f"r.{rowid} <> OLD.{rowid}"
        return {
            "before_insert": (
                f"BEFORE INSERT ON {table} FOR EACH ROW WHEN "
                f"{self._own(self._any(table, clashes))} {note}{either}; END"
            ),
            "before_update": (
                f"BEFORE UPDATE {self._of(indexes)}ON {table} FOR EACH ROW WHEN "
                f"{self._own(self._any(table, [f'{others} AND {clash}' for clash in clashes]))} "
                f"{note}{others} AND ({either}); END"
            ),
        }

    def _when(self) -> str:
        return f"WHEN {self.only_if} " if self.only_if else ""

    def _own(self, condition: str) -> str:
        return f"{self.only_if} AND ({condition})" if self.only_if else condition

    def _any(self, table: str, clashes: list[str]) -> str:
        return " OR ".join(f"EXISTS (SELECT 1 FROM {table} r WHERE {clash})" for clash in clashes)

    def _of(self, indexes: list[UniqueIndex]) -> str:
        """The columns that matter; all of them where an index holds an expression."""
        columns = {self.quote(name): None for index in indexes for name in index.columns}
        plain = all(index.is_plain for index in indexes)
        return f"OF {', '.join(columns)} " if plain else ""

    def _put(self, plan: Plan, op: str, data: str) -> str:
        into = f"INSERT INTO {self.capture_table} (op, layout, data)"
        return f"{into} SELECT {op}, {plan.number}, {data}"

    def _rowid(self, plan: Plan) -> str:
        """What tells one row of the table from another, in SQL."""
        free = [name for name in _ROWIDS if not self.tables.has(plan.row.table, name)]
        if free:
            return free[0]
        assert plan.row.pk is not None
        return self.quote(plan.row.pk.column)

    def _require_rowid(self, plan: Plan) -> None:
        taken = all(self.tables.has(plan.row.table, name) for name in _ROWIDS)
        if taken and plan.row.pk is None:
            raise SockstreamError(
                "capture-impossible",
                f"The table {plan.row.table} has columns named {', '.join(_ROWIDS)}, and a primary "
                "key of several: nothing is left to tell its rows by",
                f"Rename one of these columns, or add {plan.row.label!r} to EXCLUDE",
            )
        [(sql,)] = self.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s COLLATE NOCASE",
            [plan.row.table],
        )
        if _WITHOUT_ROWID.search(sql):
            raise SockstreamError(
                "capture-impossible",
                f"The table {plan.row.table} was made WITHOUT ROWID, which cannot be captured",
                f"Make it anew without that option, or add {plan.row.label!r} to EXCLUDE",
            )
