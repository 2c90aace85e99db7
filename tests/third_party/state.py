"""The rows of a whole database, and the way back to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import connections, transaction

Row = tuple[Any, ...]


class State:
    """What the tables of every model but our own hold in a database, at the moment it is made."""

    def __init__(self, alias: str) -> None:
        self._connection = connections[alias]
        present = set(self._connection.introspection.table_names())
        self.models = {
            model._meta.db_table: model
            for model in apps.get_models(include_auto_created=True)
            if model._meta.managed
            and not model._meta.proxy
            and not model._meta.app_label.startswith("sockstream_")
            and model._meta.db_table in present
        }
        self.rows = {table: self._read(table) for table in self.models}

    def changed(self, tables: Iterable[str] = ()) -> dict[str, Counter[Row]]:
        """Those of the tables (of all, if none is named) that hold something else now, and what."""
        now = {table: self._read(table) for table in tables or self.models}
        return {table: rows for table, rows in now.items() if rows != self.rows[table]}

    def restore(self, changed: dict[str, Counter[Row]]) -> None:
        """Make these tables what they were, in one transaction."""
        with transaction.atomic(using=self._connection.alias):
            for table, rows in changed.items():
                self._delete(table, rows - self.rows[table])
            for table, rows in changed.items():
                self._insert(table, self.rows[table] - rows)

    def _columns(self, table: str) -> list[str]:
        return [str(f.column) for f in self.models[table]._meta.local_concrete_fields]

    def _read(self, table: str) -> Counter[Row]:
        quote = self._connection.ops.quote_name
        columns = ", ".join(map(quote, self._columns(table)))
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT {columns} FROM {quote(table)}")
            return Counter(cursor.fetchall())

    def _delete(self, table: str, rows: Counter[Row]) -> None:
        if not rows:
            return
        key = str(self.models[table]._meta.pk.column)
        place = self._columns(table).index(key)
        quote = self._connection.ops.quote_name
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"DELETE FROM {quote(table)} WHERE {quote(key)} = %s",
                [[row[place]] for row in rows],
            )

    def _insert(self, table: str, rows: Counter[Row]) -> None:
        if not rows:
            return
        quote = self._connection.ops.quote_name
        columns = self._columns(table)
        values = ", ".join(["%s"] * len(columns))
        with self._connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) VALUES ({values})",
                list(rows),
            )
