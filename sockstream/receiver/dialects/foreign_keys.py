"""A database's foreign keys as the database names them, for looking at them ourselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.backends.utils import CursorWrapper

_AT_ONCE = 500
_UUID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """One column that points to another one."""

    child: str
    column: str
    parent: str
    target: str

    def __str__(self) -> str:
        return f"{self.child}.{self.column}"

    def absent(self, cursor: CursorWrapper, values: Sequence[Any]) -> list[Any]:
        """Those of the values that the parent does not have.

        The parents that are there are locked, so that nobody deletes them before the transaction
        ends. A value that only a collation takes for a parent's may be returned too.
        """
        target, parent = self._quoted(cursor, self.target, self.parent)
        sql = f"SELECT {target} FROM {parent} WHERE {target} IN (%s) LOCK IN SHARE MODE"
        found = {str(value) for (value,) in _rows(cursor, sql, values)}
        return [value for value in values if found.isdisjoint(_forms(value))]

    def broken(self, cursor: CursorWrapper, values: Sequence[Any], *, one: bool) -> list[Any]:
        """Those of the values, or `one` of them, that a child has and no parent.

        Reads what is committed now, and waits for what others are just writing.
        """
        column, child = self._quoted(cursor, self.column, self.child)
        target, parent = self._quoted(cursor, self.target, self.parent)
        sql = (
            f"SELECT DISTINCT c.{column} FROM {child} c "
            f"LEFT JOIN {parent} p ON p.{target} = c.{column} "
            f"WHERE c.{column} IN (%s) AND p.{target} IS NULL "
            f"{'LIMIT 1 ' if one else ''}LOCK IN SHARE MODE"
        )
        return [value for (value,) in _rows(cursor, sql, values)]

    def values(self, cursor: CursorWrapper) -> Iterator[list[Any]]:
        """Every value that a child has, some at a time."""
        column, child = self._quoted(cursor, self.column, self.child)
        where = f"{column} IS NOT NULL"
        after: list[Any] = []
        while True:
            cursor.execute(
                f"SELECT DISTINCT {column} FROM {child} WHERE {where} "
                f"ORDER BY {column} LIMIT {_AT_ONCE}",
                after,
            )
            found = [value for (value,) in cursor.fetchall()]
            if not found:
                return
            yield found
            where, after = f"{column} > %s", found[-1:]

    def _quoted(self, cursor: CursorWrapper, *names: str) -> list[str]:
        return [cursor.db.ops.quote_name(name).replace("%", "%%") for name in names]


@dataclass(slots=True)
class Known:
    """The foreign keys of a database: by the table that points, and by the one pointed to, whose
    names are in lower case.

    `looking` are tables whose statements the database itself has to look at, since a key has
    several columns or lies in two databases; `acting` those of whose rows a delete changes others.
    """

    of: dict[str, list[ForeignKey]] = field(default_factory=dict)
    to: dict[str, list[ForeignKey]] = field(default_factory=dict)
    looking: set[str] = field(default_factory=set)
    acting: set[str] = field(default_factory=set)

    def add(self, key: ForeignKey) -> None:
        """A foreign key of one column."""
        self.of.setdefault(key.child.lower(), []).append(key)
        self.to.setdefault(key.parent.lower(), []).append(key)


def _rows(cursor: CursorWrapper, sql: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    before, after = sql.split("(%s)")
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        cursor.execute(f"{before}({', '.join(['%s'] * len(some))}){after}", list(some))
        yield from cursor.fetchall()


def _forms(value: Any) -> set[str]:
    """The texts of a value that the database may give for it: MariaDB has a type for UUIDs."""
    text = str(value)
    return {text, str(UUID(text))} if _UUID.fullmatch(text) else {text}
