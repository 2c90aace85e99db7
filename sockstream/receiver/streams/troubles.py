"""A database that refuses a stream's transactions for now: both ends' status has to say so.

One failure is nothing to talk about: a deadlock, say. From the third one on the site is told, and
the stream's row says so too if it can be written. What is over is forgotten at both ends.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.utils import timezone

from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import Offset, State
from sockstream.wire.errors import WireError

LONGEST_PAUSE = 10.0
_TOLD_FROM = 3
_LOCK_WAIT = 1_000.0

logger = logging.getLogger("sockstream.receiver")


class Troubles:
    """The failures of one stream since its last commit. All methods are for the pool's threads.

    `tell` gets the error that the site is to be shown, and None when it is over.
    """

    def __init__(
        self, name: str, applier: Applier, tell: Callable[[WireError | None], None]
    ) -> None:
        self._name = name
        self._applier = applier
        self._tell = tell
        self._failures = 0
        self._noted = ""

    def met(self, error: WireError) -> float:
        """The database has refused; returns the seconds after which to try again."""
        if not self._failures:
            logger.warning("%s: the database failed, trying again: %s", self._name, error)
        self._failures += 1
        if self._failures >= _TOLD_FROM:
            if self._noted != error.code and self._note(error):
                self._noted = error.code
            self._tell(error)
        return random.uniform(0, min(LONGEST_PAUSE, 0.1 * 2.0 ** min(self._failures, 10)))

    def over(self) -> None:
        """A transaction has committed."""
        if not self._failures:
            return
        logger.info("%s: the database is back after %d attempts", self._name, self._failures)
        if self._noted:
            self._note(None)
        if self._failures >= _TOLD_FROM:
            self._tell(None)
        self._failures, self._noted = 0, ""

    def _note(self, error: WireError | None) -> bool:
        """Show the error in central's status, or none; whether that could be written.

        A stream that has stopped shows why, and not this. Nothing waits long for a lock here.
        """
        using = self._applier.using
        mine = Offset.objects.using(using).filter(
            source__name=self._applier.source,
            stream=self._applier.stream,
            fence=self._applier.fence,
            state=State.CONNECTED,
        )
        code, words = (error.code, str(error)) if error else ("", "")
        try:
            with transaction.atomic(using=using):
                with connections[using].cursor() as cursor:
                    dialect(using).wait_for_locks(cursor, _LOCK_WAIT)
                mine.update(error_code=code, error=words, error_at=timezone.now() if code else None)
        except DatabaseError:
            connections[using].close()
            return False
        return True
