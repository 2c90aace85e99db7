"""Transactions that do not depend on what a project sets for its own, and give way to them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import connections, transaction

from .trouble import is_conflict

T = TypeVar("T")


def until_done(using: str, action: Callable[[], T]) -> Generator[None, None, T]:
    """Do it in a transaction of its own, in which PostgreSQL takes rows as they are now.

    At a stricter level it would refuse a row that others have changed since the transaction began,
    and might refuse others for what we have read. Yields whenever others were in the way, to do it
    once more. Returns what `action` did; raises Django's other database errors.
    """
    while True:
        try:
            with _read_committed(using):
                return action()
        except DatabaseError as error:
            if not is_conflict(error):
                raise
        yield


@contextmanager
def _read_committed(using: str) -> Iterator[None]:
    connection = connections[using]
    with transaction.atomic(using=using):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield
