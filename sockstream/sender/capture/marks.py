"""The marks of a snapshot among the captured rows, one a model; see wire.records for their meaning.

Their data is a JSON array: the mark's number among those of its kind, and how many there are.

A table that was emptied at once, without a delete for each row, says so by a begin and an end with
nothing between them. They are letters of their own: they neither begin nor end a snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from django.db import connections
from django.db.models.expressions import RawSQL

from sockstream.sender.models import Capture

BEGIN, LOAD, END = "B", "L", "E"
EMPTIED = "b", "e"
ALL = BEGIN, LOAD, END, *EMPTIED


def put(using: str, op: str, layouts: Sequence[int]) -> None:
    """Capture a mark for each of these layouts, in the caller's transaction."""
    txid = None
    if connections[using].vendor == "postgresql":
        txid = RawSQL("pg_current_xact_id()::text::bigint", [])
    count = len(layouts)
    Capture.objects.using(using).bulk_create(
        Capture(txid=txid, op=op, layout=layout, data=json.dumps([number, count]))
        for number, layout in enumerate(layouts, 1)
    )


def is_last(data: str) -> bool:
    """Whether this is the last mark of its kind."""
    number, count = json.loads(data)
    return bool(number == count)
