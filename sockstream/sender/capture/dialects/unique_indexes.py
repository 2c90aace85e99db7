"""SQLite's unique indexes, and the condition by which a row is in the way of a new one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Execute = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
Quote = Callable[[str], str]

_ORDER = re.compile(r"\s+(asc|desc)\s*$", re.IGNORECASE)
_QUOTES = {'"': '"', "'": "'", "`": "`", "[": "]"}
_EXPRESSION = -2


@dataclass(frozen=True)
class UniqueIndex:
    """`terms` are the equal pairs of SQL, on an existing row and on NEW; `where` makes it partial.

    `{row}` in a term stands for the alias of the existing row.
    """

    columns: tuple[str, ...]
    terms: tuple[tuple[str, str], ...]
    where: str = ""
    is_plain: bool = True

    def clash(self, row: str) -> str:
        """The condition by which the row under this alias is in the way of NEW."""
        equal = " AND ".join(f"{there.replace('{row}', row)} = {new}" for there, new in self.terms)
        return f"{equal} AND ({self.where})" if self.where else equal


def unique_indexes(execute: Execute, table: str, quote: Quote) -> list[UniqueIndex]:
    """The unique indexes of a table, the integer primary key among them."""
    columns = execute(
        'SELECT name, type, pk, "notnull", dflt_value FROM pragma_table_xinfo(%s)', [table]
    )
    new = {name: f"NEW.{quote(name)}" for name, *_ in columns}
    # A REPLACE puts the default where NULL may not be, and only after the triggers that come first.
    new |= {
        name: f"coalesce({new[name]}, {default})"
        for name, _, _, required, default in columns
        if required and default is not None
    }
    keys = [(name, type_) for name, type_, pk, _, _ in columns if pk]
    found = list(_declared(execute, table, new, quote))
    if len(keys) == 1 and keys[0][1].lower() == "integer":
        name = keys[0][0]
        found.append(UniqueIndex((name,), ((f"{{row}}.{quote(name)}", new[name]),)))
    return found


def _declared(
    execute: Execute, table: str, new: Mapping[str, str], quote: Quote
) -> Iterator[UniqueIndex]:
    indexes = execute(
        "SELECT l.name, m.sql FROM pragma_index_list(%s) l "
        "LEFT JOIN sqlite_master m ON m.name = l.name AND m.type = 'index' "
        'WHERE l."unique" ORDER BY l.name',
        [table],
    )
    for index, sql in indexes:
        parts = execute(
            'SELECT cid, name, coll FROM pragma_index_xinfo(%s) WHERE "key" ORDER BY seqno', [index]
        )
        body, where = _read(sql) if sql else ([], "")
        terms = []
        for number, (cid, name, collation) in enumerate(parts):
            if cid == _EXPRESSION:
                terms.append(_expression(body[number], new, quote))
            else:
                terms.append((f"{{row}}.{quote(name)}", f"{new[name]} COLLATE {quote(collation)}"))
        plain = bool(parts) and not where and all(cid >= 0 for cid, _, _ in parts)
        columns = tuple(name for _, name, _ in parts if name is not None)
        yield UniqueIndex(columns, tuple(terms), where, plain)


def _expression(body: str, new: Mapping[str, str], quote: Quote) -> tuple[str, str]:
    """The expression on the existing row, where its names mean that row, and the same on NEW."""
    row = ", ".join(f"{value} AS {quote(name)}" for name, value in new.items())
    return f"({body})", f"(SELECT {body} FROM (SELECT {row}))"


def _read(sql: str) -> tuple[list[str], str]:
    """The indexed expressions and the WHERE of a CREATE INDEX."""
    on = re.search(r"\bon\b", _blanked(sql), re.IGNORECASE)
    blank = _blanked(sql)
    start = blank.index("(", on.end() if on else 0)
    parts, depth, begin = [], 0, start + 1
    for at in range(start, len(blank)):
        if blank[at] == "(":
            depth += 1
        elif blank[at] == ")":
            depth -= 1
        if (blank[at] == "," and depth == 1) or depth == 0:
            parts.append(_ORDER.sub("", sql[begin:at]).strip())
            begin = at + 1
        if depth == 0:
            break
    where = re.match(r"\s*where\b", blank[begin:], re.IGNORECASE)
    return parts, sql[begin + where.end() :].strip() if where else ""


def _blanked(sql: str) -> str:
    """The SQL with every quoted name and text made of blanks, at the same places."""
    out, closing = [], ""
    for char in sql:
        if closing:
            out.append(" ")
            closing = "" if char == closing else closing
        elif char in _QUOTES:
            closing = _QUOTES[char]
            out.append(" ")
        else:
            out.append(char)
    return "".join(out)
