"""What is parked at central, and what makes a record be parked."""

from __future__ import annotations

from sockstream.receiver.models import Offset, Parked
from tests.zoo.models import Slot

MODELS = ["polls", "zoo", "zoo_pg", "zoo_raw"]


def offset(using: str) -> Offset:
    return Offset.objects.using(using).get()


def parked(using: str) -> list[tuple[int, str, int]]:
    """What is parked: number, cause, and the number that it waits behind."""
    rows = Parked.objects.using(using).order_by("seq")
    return list(rows.values_list("seq", "cause", "behind"))


def take(using: str, position: int) -> Slot:
    """Somebody at central takes a unique value that a site will want."""
    return Slot.objects.using(using).create(position=position)
