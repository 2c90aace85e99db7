"""What the databases that have triggers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream.databases import origin
from sockstream.rows import Column, Kind, Row
from sockstream.sender.capture.layouts import PIECE, Plan, local_column
from sockstream.sender.capture.tables import Tables
from sockstream.sender.models import Capture

PREFIX = "sockstream_"


class Name(NamedTuple):
    """What something installed is called; `table` is empty if it belongs to no captured table."""

    kind: str
    table: str
    name: str

    def __str__(self) -> str:
        on = f" on {self.table}" if self.table else ""
        return f"{self.kind} {self.name}{on}"


@dataclass(frozen=True)
class Thing:
    """A trigger, function or table of ours: how the database tells what it is, how it is made."""

    text: str
    create: tuple[str, ...]


class Dialect(ABC):
    """How one database captures. Made anew for each use: it remembers what tables there were."""

    vendor: ClassVar[str]
    transactional: ClassVar[bool] = True
    """Whether an installation is one transaction; if not, the new is made before the old goes."""
    transaction_name: ClassVar[str] = "NULL"
    """The SQL that names the transaction, for the column txid."""
    own_write: ClassVar[str]
    """The condition that no stream brings what is written: see databases.origin."""
    skips_locked: ClassVar[bool] = False
    """Whether `copy` leaves out rows that somebody has locked."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.quote = connection.ops.quote_name
        self.tables = self.look()
        self.only_if = self.own_write if origin.keeps_apart(connection.alias) else ""

    @abstractmethod
    def look(self) -> Tables:
        """The tables and columns that are there now."""

    def wanted(self, plans: Sequence[Plan]) -> dict[Name, Thing]:
        """What has to be installed to capture by these plans."""
        things = self.shared(plans)
        for plan in plans:
            things |= self.of_table(plan)
        return things

    def shared(self, plans: Sequence[Plan]) -> dict[Name, Thing]:
        """What belongs to no table."""
        return {}

    @abstractmethod
    def of_table(self, plan: Plan) -> dict[Name, Thing]:
        """What captures one table."""

    @abstractmethod
    def found(self) -> dict[Name, str]:
        """What is installed, each with its text."""

    @abstractmethod
    def drop(self, name: Name) -> str:
        """The statement that removes what is installed under this name."""

    def in_transaction_by_hand(self) -> bool:
        """Whether somebody began a transaction without Django, which then can begin none."""
        return False

    def in_the_way(self, table: str) -> list[Name]:
        """What has to be dropped before the table can be altered or dropped."""
        return []

    @abstractmethod
    def value(self, column: Column, sql: str) -> str:
        """The JSON-able SQL of a column's value, exact and the same in every session."""

    @abstractmethod
    def array(self, items: Iterable[str]) -> str:
        """The SQL of a JSON array of at most PIECE items."""

    def table(self, name: str) -> str:
        """A table's name in SQL."""
        return self.quote(name)

    @property
    def capture_table(self) -> str:
        return self.table(Capture._meta.db_table)

    def distinct(self, sql: str) -> str:
        """The condition that a value is not the parameter's, null being a value."""
        return f"{sql} IS DISTINCT FROM %s"

    def embedded(self, subselect: str) -> str:
        """A subselect that gives a JSON array, as an item of another array."""
        return subselect

    def as_text(self, array: str) -> str:
        """The array as a text."""
        return array

    def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of one statement; without parameters, a percent sign means itself."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else []

    def existing(self, plan: Plan, op: str, source: str = "") -> str:
        """The statement that captures every row of the table, or of `source`, as it is now."""
        return (
            f"INSERT INTO {self.capture_table} (txid, op, layout, data) "
            f"SELECT {self.transaction_name}, '{op}', {plan.number}, {self.row_data(plan, 'r')} "
            f"FROM {source or self.table(plan.row.table)} r"
        )

    def copy(self, plan: Plan, condition: str) -> str:
        """The statement that captures the rows of the table `r` that meet a condition.

        They are locked, so that whatever changes one of them later is captured after it. Gives the
        primary keys of the captured rows if it `skips_locked`.
        """
        return f"{self.existing(plan, 'S').replace('%', '%%')} WHERE {condition}"

    def primary_key(self, plan: Plan) -> list[str]:
        """The columns of the table's primary key, in SQL."""
        meta = plan.row.model._meta
        return [f"r.{self.quote(f.column)}" for f in getattr(meta, "pk_fields", (meta.pk,))]

    def row_data(self, plan: Plan, source: str) -> str:
        """The SQL of a whole row's data; `source` is NEW, OLD or the table's alias."""
        return self._data(plan, plan.row.columns, source)

    def key_data(self, plan: Plan, source: str) -> str:
        """The SQL of what a delete holds."""
        return self._data(plan, plan.row.key, source)

    def _data(self, plan: Plan, columns: Sequence[Column], source: str) -> str:
        at = {column: f"{source}.{self.quote(column.column)}" for column in columns}
        items = [self._item(column, at[column]) for column in columns]
        items += [
            self._local(plan.row, column, at[column])
            for column in columns
            if column.kind is Kind.REFERENCE
        ]
        if plan.has_pk:
            assert plan.row.pk is not None
            pk = plan.row.pk
            items.append(self._local(plan.row, pk, f"{source}.{self.quote(pk.column)}"))
        if plan.items <= PIECE or columns is plan.row.key:
            return self.as_text(self.array(items))
        pieces = (items[start : start + PIECE] for start in range(0, len(items), PIECE))
        return self.as_text(self.array(self.array(piece) for piece in pieces))

    def _local(self, row: Row, column: Column, sql: str) -> str:
        """A value that means something here alone."""
        if column.kind is Kind.REFERENCE:
            column = self.tables.stored(row.table, local_column(column))
        return self.value(column, sql)

    def _item(self, column: Column, sql: str) -> str:
        if column.kind is not Kind.REFERENCE:
            return self.value(column, sql)
        target = column.target
        assert target is not None
        return self.key_of(target, sql) if self.is_there(target) else "NULL"

    def key_of(self, target: Row, local: str) -> str:
        """The SQL that looks up the key of the row of `target` whose primary key is `local`."""
        assert target.pk is not None
        joins: list[str] = []
        parts = self._parts(target, "k", joins)
        single = len(parts) == 1
        subselect = (
            f"(SELECT {parts[0] if single else self.array(parts)} "
            f"FROM {self.table(target.table)} k{''.join(joins)} "
            f"WHERE k.{self.quote(target.pk.column)} = {local})"
        )
        return subselect if single and not self._is_nested(target) else self.embedded(subselect)

    def _parts(self, target: Row, alias: str, joins: list[str]) -> list[str]:
        parts = []
        for number, part in enumerate(self.tables.stored_row(target).key):
            sql = f"{alias}.{self.quote(part.column)}"
            further = part.target
            if further is None:
                parts.append(self.value(part, sql))
                continue
            assert further.pk is not None
            inner = f"{alias}{number}"
            joins.append(
                f" JOIN {self.table(further.table)} {inner} "
                f"ON {inner}.{self.quote(further.pk.column)} = {sql}"
            )
            found = self._parts(further, inner, joins)
            parts.append(found[0] if len(found) == 1 else self.array(found))
        return parts

    def _is_nested(self, target: Row) -> bool:
        """Whether the one part of the key is an array itself."""
        inner = target.key[0].target
        return inner is not None and (len(inner.key) > 1 or self._is_nested(inner))

    def is_there(self, target: Row) -> bool:
        """Whether the tables that a lookup of the key reads are there (yet)."""
        columns = [part.column for part in target.key]
        if target.pk is not None:
            columns.append(target.pk.column)
        further = (part.target for part in target.key)
        return self.tables.has(target.table, *columns) and all(
            self.is_there(inner) for inner in further if inner is not None
        )


def shortened(text: str, limit: int) -> str:
    """A name within the database's limit (in bytes) for names."""
    return text.encode()[:limit].decode(errors="ignore")


def differences(wanted: Mapping[Name, Thing], found: Mapping[Name, str]) -> list[str]:
    """In words, what is not as it has to be."""
    missing = [f"{name} is missing" for name in wanted if name not in found]
    changed = [
        f"{name} is not as it has to be"
        for name, thing in wanted.items()
        if name in found and found[name] != thing.text
    ]
    surplus = [f"{name} is left over" for name in found if name not in wanted]
    return missing + changed + surplus
