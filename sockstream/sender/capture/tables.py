"""Which tables and columns a database has now: between two migrations, not what the models say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from django.apps import apps


class Tables:
    """The columns of the tables that are there. `fold` makes names equal that the database
    takes for equal."""

    def __init__(
        self, columns: Iterable[tuple[str, str]], fold: Callable[[str], str] = str
    ) -> None:
        self._fold = fold
        self._columns = {(fold(table), fold(column)) for table, column in columns}
        self._tables = {table for table, _ in self._columns}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tables) and self._columns == other._columns

    __hash__ = None  # type: ignore[assignment]

    def has(self, table: str, *columns: str) -> bool:
        """Whether the table is there, with these columns."""
        name = self._fold(table)
        return name in self._tables and all(
            (name, self._fold(column)) in self._columns for column in columns
        )


def model_tables() -> list[str]:
    """The names of the tables of all installed models."""
    models = apps.get_models(include_auto_created=True)
    return sorted({model._meta.db_table for model in models if not model._meta.proxy})
