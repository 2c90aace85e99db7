"""The slow way: records written in ever smaller parts, in their order, until the parts work.

What the fast way can't order (two rows that swap a unique value) works as soon as a part is small
enough, since the site wrote its records in this order. A part of one record that still fails has
found the record at fault, which is then for somebody else to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from django.db import DataError, connections, transaction

from sockstream.receiver.dialects.upserts.forms import refusal

from .faults import BLAMED, RecordFault, shown, transient, words_of
from .parts import Part
from .tables.effects import Meetings

Write = Callable[[Sequence[Part]], Meetings]


class Judge(Protocol):
    """Decides what becomes of records that cannot be written."""

    def screen(self, parts: Sequence[Part]) -> Sequence[Part]:
        """The records that do not have to wait for others. May raise RecordFault or Refusal."""

    def refuse(self, part: Part, error: Exception) -> None:
        """The one record of `part` met `error`. Raises RecordFault, or returns to go on."""


def write_halving(
    parts: Sequence[Part], write: Write, forget: Callable[[], None], judge: Judge, using: str
) -> Meetings:
    """Write the parts in the caller's transaction, each attempt in a savepoint of its own.

    `forget` is called after a savepoint was rolled back. Raises what the judge does, and database
    errors that blame no record.
    """
    rest = parts
    try:
        rest = judge.screen(parts)
        with transaction.atomic(using=using):
            return write(rest)
    except BLAMED as error:
        forget()
        if transient(error):
            raise
        left, right = _halves(rest)
        if not right:
            judge.refuse(left[0], _named(left[0], error, using))
            return Meetings()
    meetings = write_halving(left, write, forget, judge, using)
    meetings.add(write_halving(right, write, forget, judge, using))
    return meetings


def _named(part: Part, error: Exception, using: str) -> Exception:
    """The error of the one record of `part`, with its field where the database does not say it."""
    if not isinstance(error, DataError | OverflowError):
        return error
    [(_, index, values)] = part.records
    plan = part.header.plan(index)
    own = [None if at in plan.references else value for at, value in enumerate(values)]
    with connections[using].cursor() as cursor:
        at = plan.statements.at_fault(cursor, own)
    if at is None:
        return error
    why = f"which central's database refuses: {words_of(error)}"
    found = refusal(plan.columns[at], own[at], why)
    found.__cause__ = error
    return found


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
