"""What is parked at central, and what makes a record be parked."""

from __future__ import annotations

from typing import Any

from django.db import connections

from sockstream.receiver.models import Offset, Parked
from tests.zoo.models import Slot

MODELS = ["polls", "zoo", "zoo_pg", "zoo_raw"]
# No text takes it: SQLite has no such integer, PostgreSQL no NUL, and MariaDB looks at the length.
_MISFITS: dict[str, Any] = {"sqlite": 2**64 - 1, "postgresql": "a\x00b", "mysql": "x" * 300}


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def parked(using: str) -> list[tuple[int, str, int]]:
    """What is parked: the first record of each row, the cause, and the record that it waits for."""
    rows = Parked.objects.using(using).order_by("seq")
    return list(rows.values_list("seq", "cause", "behind"))


def last(using: str) -> dict[int, tuple[int, int]]:
    """What is parked: the last record of each row, and what that does to it, by its first."""
    rows = Parked.objects.using(using).order_by("seq")
    return {row.seq: (row.last_seq, row.op) for row in rows}


def take(using: str, position: int) -> Slot:
    """Somebody at central takes a unique value that a site will want."""
    return Slot.objects.using(using).create(position=position)


def misfit(using: str) -> Any:
    """The wire value of a text that this database refuses."""
    return _MISFITS[connections[using].vendor]
