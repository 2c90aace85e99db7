"""What central tells its own code."""

from __future__ import annotations

from django.dispatch import Signal

records_applied = Signal()
"""Sent after each commit, from the thread that applied.

Arguments: `source` and `stream` (str), `using` (database alias), `first_seq` and `last_seq` (int,
the records of this commit), `counts` (a callable that gives {model label: number of records}).
An exception of a receiver is logged and changes nothing: the records are applied and acked.
"""
