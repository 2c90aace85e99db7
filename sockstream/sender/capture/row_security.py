"""Row-level security of PostgreSQL: what is read to be sent is every row, or an error.

A policy hides rows from the roles that it concerns, without a word: a snapshot would delete them at
central, and a reference would point to nothing. With `row_security` off, PostgreSQL refuses to run
a query that a policy concerns, and so do we before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager

from django.db import connections, transaction

from sockstream.exceptions import SockstreamError
from sockstream.rows import Row


@contextmanager
def every_row(using: str, tables: Iterable[str]) -> Iterator[None]:
    """A transaction in which no policy hides a row of the tables, or the rest of the caller's.

    Raises SockstreamError if one would.
    """
    with transaction.atomic(using=using):
        require(using, tables)
        if connections[using].vendor == "postgresql":
            with connections[using].cursor() as cursor:
                cursor.execute("SET LOCAL row_security = off")
        yield


def require(using: str, tables: Iterable[str]) -> None:
    """Raises SockstreamError if a policy may hide rows of one of the tables from us."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return
    names = sorted(tables)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.name, quote_ident(current_user) FROM unnest(%s::text[], %s::text[]) "
            "t(name, quoted) WHERE row_security_active(to_regclass(t.quoted)) LIMIT 1",
            [names, [connection.ops.quote_name(name) for name in names]],
        )
        if (found := cursor.fetchone()) is not None:
            table, role = found
            raise SockstreamError(
                "row-security",
                f"Row-level security may hide rows of {table} from the role {role}, so they "
                "cannot all be sent",
                f"Run ALTER ROLE {role} BYPASSRLS, or let a role that has it run the command",
            )


def tables_of(row: Row) -> Set[str]:
    """The tables that are read for a row: its own, and those where its references are looked up."""
    found = {row.table}
    for column in row.columns:
        if column.target is not None:
            found |= tables_of_key(column.target)
    return found


def tables_of_key(row: Row) -> Set[str]:
    """The tables that are read for a row's key."""
    further = (part.target for part in row.key)
    return {row.table}.union(*(tables_of_key(target) for target in further if target is not None))
