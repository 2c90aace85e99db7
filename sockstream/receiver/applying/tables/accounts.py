"""Each statement's count is accounted for: what it did not meet is looked for in the table.

A trigger or a rule of central's own, or row-level security, can keep a row out of a table, or in
it, without an error. Counts can't tell of a trigger that changes a row's key or its values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.backends.utils import CursorWrapper

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.faults import shown
from sockstream.receiver.applying.plans import Plan

from .reduce import Values


def require_there(
    plan: Plan, columns: Sequence[Values], rows: Sequence[Values], cursor: CursorWrapper
) -> None:
    """The rows, given by local columns too, are in the table as they are here.

    Raises Refusal if one is not.
    """
    for at in plan.statements.missing(cursor, columns):
        raise _refusal(plan, rows[at], "did not take the row")


def require_gone(
    plan: Plan, columns: Sequence[Values], names: Sequence[Sequence[Any]], cursor: CursorWrapper
) -> None:
    """No row has one of these keys, given by local columns and by their parts.

    Raises Refusal if there is one.
    """
    for name, there in zip(names, plan.statements.find(cursor, columns), strict=True):
        if there is not None:
            raise _refusal(plan, name, "did not let go of the row")


def _refusal(plan: Plan, values: Values, what: str) -> Refusal:
    table = plan.row.table
    return Refusal(
        "record-refused",
        f"{plan.label} {shown(values[: plan.key_width])}: central's table {table} {what}, and the "
        "database reported no error. A trigger, a rule or row-level security does that",
        f"Look for triggers, rules and row-level security on {table} at central, and change them",
    )
