"""On PostgreSQL, the transactions of others that may have captured what nobody sees yet.

A captured row gets its id, and decides whether to notify, before its transaction commits. An INSERT
locks the capture table before either, and the lock is let go when everybody sees what the
transaction wrote, or nobody ever will. So no other transaction can have such a row. A virtual id is
never given again, and PREPARE TRANSACTION keeps it.
"""

from __future__ import annotations

from django.db import connections

from sockstream.sender.models import Capture

# A prepared transaction has no process.
_WRITERS = (
    "SELECT l.virtualtransaction, coalesce('pid ' || l.pid, 'a prepared one (pg_prepared_xacts)') "
    "FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
    "WHERE d.datname = current_database() AND l.relation = %s::regclass "
    "AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted "
    "AND l.pid IS DISTINCT FROM pg_backend_pid() ORDER BY l.pid"
)


def writers(using: str) -> dict[str, str]:
    """Their virtual ids, and words for them; empty on another database."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS, [connection.ops.quote_name(Capture._meta.db_table)])
        return dict(cursor.fetchall())
