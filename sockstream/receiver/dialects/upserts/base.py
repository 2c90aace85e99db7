"""What a dialect does for one table: insert, update, delete and find many rows at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from sockstream import columns
from sockstream.rows import Column

Values = Sequence[Any]
"""The values of one column, a row each; a table's rows come as a sequence of those."""

Encoder = Callable[[Values], Values]


@dataclass(frozen=True)
class Shape:
    """The columns that a layout writes: the key's, the others, and what only an insert gives.

    `unsent` columns are those that central has and the site does not: their values come from
    Django's defaults, already in the form of the database. `wanted` is the column that a look-up
    by key reads: the local primary key, or a part of the key itself.
    """

    table: str
    keys: tuple[Column, ...]
    others: tuple[Column, ...] = ()
    unsent: tuple[Column, ...] = ()
    wanted: Column | None = None

    @property
    def inserted(self) -> tuple[Column, ...]:
        """The columns of an insert, in their order."""
        return self.keys + self.others + self.unsent

    def stored(self, connection: BaseDatabaseWrapper) -> Shape:
        """The shape with its columns as the database has them."""

        def of(some: Sequence[Column]) -> tuple[Column, ...]:
            return tuple(columns.here(connection, self.table, column) for column in some)

        return replace(self, keys=of(self.keys), others=of(self.others), unsent=of(self.unsent))


class Statements(ABC):
    """The statements of one shape for one database, made once and used for every batch.

    Rows are given by columns, keys first, in their wire form; references are local already. All
    methods raise Django's database errors, or Refusal for a value that the database would change.
    """

    def __init__(self, shape: Shape, connection: BaseDatabaseWrapper) -> None:
        quote = connection.ops.quote_name
        self.shape = shape = shape.stored(connection)
        self.table = _escaped(quote(shape.table))
        self.keys, self.others, self.inserted = (
            [_escaped(quote(column.column)) for column in columns]
            for columns in (shape.keys, shape.others, shape.inserted)
        )
        self.wanted = _escaped(quote(shape.wanted.column)) if shape.wanted else self.keys[0]

    def stored(self, number: int, values: Values) -> Values:
        """The values of one of the columns that are sent, in the form that the database has."""
        return values

    def at_fault(self, cursor: CursorWrapper, row: Sequence[Any]) -> int | None:
        """The position of the value of a row, which was refused, that its column does not take.

        None if the database's own words name the column. What is tried is rolled back.
        """
        return None

    @abstractmethod
    def insert(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        """Add the rows whose key is not there yet; returns how many that were."""

    def insert_new(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        """As `insert`, for rows that should not be there; raises IntegrityError if one may be."""
        return self.insert(cursor, columns)

    @abstractmethod
    def update(self, cursor: CursorWrapper, columns: Sequence[Values]) -> int:
        """Change the rows that are there; returns how many that were."""

    @abstractmethod
    def delete(self, cursor: CursorWrapper, keys: Sequence[Values]) -> int:
        """Remove the rows with these keys; returns how many were there."""

    @abstractmethod
    def find(self, cursor: CursorWrapper, keys: Sequence[Values]) -> list[Any]:
        """What stands in the column `wanted` of each row; None for a row that is not there."""

    @abstractmethod
    def missing(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[int]:
        """The positions of the rows that are not in the table as they are given here.

        For the case that a statement met fewer rows than it was given: this reads whole rows.
        """

    @abstractmethod
    def holders(self, cursor: CursorWrapper, columns: Sequence[Values]) -> list[tuple[Any, ...]]:
        """The `others` of rows that hold the keys of one of these, and are another row than it.

        Here the keys of the shape are values that are unique together, and its others name a row.
        """


def _escaped(name: str) -> str:
    return name.replace("%", "%%")
