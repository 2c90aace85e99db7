"""Whether a transaction can end at a cut: the database knows, and its tables need not be read.

PostgreSQL can be asked to look at what it put off until the commit. SQLite counts the references
that are broken, and tells at the COMMIT: one that fails leaves the transaction open, as it was
(https://www.sqlite.org/foreignkeys.html, section 4.2). MySQL puts nothing off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import IntegrityError, connections, transaction

from sockstream.receiver.dialects import dialect


def can_end_after(finish: Callable[[], None], using: str) -> bool:
    """Run `finish`, and say whether the open transaction can be committed then; if not, it goes on
    as if nothing had been done. On SQLite it is committed already.

    Raises what `finish` does, and Django's database errors but for a constraint.
    """
    try:
        if dialect(using).tells_at_commit:
            _commit_after(finish, using)
        else:
            with transaction.atomic(using=using):
                finish()
                _require_all(using)
    except IntegrityError:
        return False
    return True


def _commit_after(finish: Callable[[], None], using: str) -> None:
    connection: Any = connections[using]
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT before_the_cut")
        finish()
        try:
            # Django's own commit would roll back if it failed; after this one it has nothing to do.
            with connection.wrap_database_errors:
                connection.connection.commit()
        except IntegrityError:
            cursor.execute("ROLLBACK TO before_the_cut")
            cursor.execute("RELEASE before_the_cut")
            raise


def _require_all(using: str) -> None:
    with connections[using].cursor() as cursor:
        dialect(using).require_constraints(cursor)
