"""The writes of a stream, told from the project's own where it is a site too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error as DatabaseError
from django.db import connections
from django.db.backends.utils import CursorWrapper

from sockstream.databases import origin
from sockstream.receiver.dialects import dialect


@contextmanager
def of_a_stream(using: str) -> Iterator[CursorWrapper]:
    """A cursor, in the caller's transaction. Capture passes by what is written meanwhile.

    On an exception, the caller rolls back to where this began.
    """
    with connections[using].cursor() as cursor:
        if not origin.keeps_apart(using):
            yield cursor
            return
        spoken = dialect(using)
        spoken.pass_capture_by(cursor)
        try:
            yield cursor
        except BaseException:
            with suppress(DatabaseError):
                spoken.capture_after_failure(cursor)
            raise
        spoken.capture_again(cursor)
