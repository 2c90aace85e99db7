"""The slow way: records written in ever smaller parts, in their order, until the parts work.

What the fast way can't order (two rows that swap a unique value) works as soon as a part is small
enough, since the site wrote its records in this order. A part of one record that still fails has
found the record at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import transaction

from .faults import BLAMED, RecordFault, shown, transient
from .writing import Meetings, Part

Write = Callable[[Sequence[Part]], Meetings]


def write_halving(
    parts: Sequence[Part], write: Write, forget: Callable[[], None], using: str
) -> Meetings:
    """Write the parts in the caller's transaction, each attempt in a savepoint of its own.

    `forget` is called after a savepoint was rolled back. Raises RecordFault whose cause is what
    the record met, and database errors that blame no record.
    """
    try:
        with transaction.atomic(using=using):
            return write(parts)
    except BLAMED as error:
        forget()
        if transient(error):
            raise
        left, right = _halves(parts)
        if not right:
            raise fault_of(left[0]) from error
    meetings = write_halving(left, write, forget, using)
    meetings.add(write_halving(right, write, forget, using))
    return meetings


def _halves(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """The first and the second half of the records; the second is empty if there is only one."""
    half = (sum(len(part.records) for part in parts) + 1) // 2
    left: list[Part] = []
    right: list[Part] = []
    for part in parts:
        here = min(half, len(part.records))
        half -= here
        if here:
            left.append(part.slice(0, here))
        if here < len(part.records):
            right.append(part.slice(here, len(part.records)))
    return left, right


def fault_of(part: Part, at: int = 0) -> RecordFault:
    """The record of `part` at position `at`, as the one at fault."""
    _, index, values = part.records[at]
    layout = part.header.layout(index)
    key = shown(values[: len(layout.keys)])
    return RecordFault(layout.label, key, part.first_seq + at)
