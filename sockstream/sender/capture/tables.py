"""Which tables and columns a database has now: between two migrations, not what the models say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

from sockstream import columns
from sockstream.rows import Column, Row


class Tables:
    """The columns of the tables that are there. `fold` makes names equal that the database
    takes for equal."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        found: Iterable[tuple[str, str]],
        fold: Callable[[str], str] = str,
    ) -> None:
        self._connection = connection
        self._fold = fold
        self._columns = {(fold(table), fold(column)) for table, column in found}
        self._tables = {table for table, _ in self._columns}
        self._types = {
            (fold(table), fold(column)): type_
            for (table, column), type_ in columns.types(connection, model_tables()).items()
        }

    def __eq__(self, other: object) -> bool:
        mine = self._columns, self._types
        return isinstance(other, Tables) and mine == (other._columns, other._types)

    __hash__ = None  # type: ignore[assignment]

    def has(self, table: str, *columns: str) -> bool:
        """Whether the table is there, with these columns."""
        name = self._fold(table)
        return name in self._tables and all(
            (name, self._fold(column)) in self._columns for column in columns
        )

    def stored(self, table: str, column: Column) -> Column:
        """The column of a table as it is there."""
        type_ = self._types.get((self._fold(table), self._fold(column.column)))
        return columns.stored(column, type_, self._connection)

    def stored_row(self, row: Row) -> Row:
        """The row with each column as it is there."""
        return columns.mapped(row, lambda column: self.stored(row.table, column))


def model_tables() -> list[str]:
    """The names of the tables of all installed models."""
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models if not model._meta.proxy})
