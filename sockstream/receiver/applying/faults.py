"""What can go wrong while applying, whose fault it is, and how a database says so."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from sockstream.databases.trouble import is_about_a_table, trouble, words_of
from sockstream.exceptions import LONGEST_NAME, Refusal, printable
from sockstream.receiver.models import Source
from sockstream.wire.errors import WireError

__all__ = [
    "BLAMED",
    "Fenced",
    "RecordFault",
    "Retry",
    "Stopped",
    "blame",
    "can_be_parked",
    "shown",
    "transient",
    "words_of",
]

_PARKED = ("missing-reference", "record-refused")
_MEND = "Mend the cause at central; the stream then goes on by itself"


class Fenced(Exception):
    """A newer session owns the stream; what this one did since its last commit is rolled back."""


class Retry(Exception):
    """The database could not do it now; no record is at fault. `error` has the code and words."""

    def __init__(self, error: WireError) -> None:
        super().__init__(str(error))
        self.error = error


class Stopped(Exception):
    """A record cannot be applied. What came before it is committed, and the stop is noted."""

    def __init__(self, error: WireError, model: str, key: str, seq: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.model = model
        self.key = key
        self.seq = seq


def disabled(source: Source) -> WireError:
    """What a source hears that a person has disabled or retired."""
    done = "disabled" if source.retired_at is None else "retired"
    return WireError(
        "source-disabled",
        f"Central has {done} the source {source.name}",
        f"Run manage.py oplog_source enable {shlex.quote(source.name)} at central",
    )


class RecordFault(Exception):
    """The record that is at fault; the cause is what it met."""

    def __init__(self, model: str, key: str, seq: int) -> None:
        super().__init__(f"{model} {key} (seq {seq})")
        self.model = printable(model, LONGEST_NAME)
        self.key = printable(key, LONGEST_NAME)
        self.seq = seq


# What a record can bring about. The last three are what drivers raise for a value that fits no
# column at all, such as an integer of more than 64 bits.
BLAMED = (Refusal, DatabaseError, OverflowError, ValueError, TypeError)


def transient(error: BaseException) -> WireError | None:
    """The error to tell the site if the database only failed for now; None if a record did it."""
    found = trouble(error)
    return WireError(found.code, f"Central's database: {found.words}") if found else None


def can_be_parked(error: BaseException) -> bool:
    """Whether an error is about this one record.

    What is wrong with a model or with a table as a whole would be wrong with the next record too:
    a model that central does not take, a missing column, a right that the role lacks.
    """
    if isinstance(error, Refusal):
        return error.code in _PARKED
    return not is_about_a_table(error)


def blame(fault: RecordFault) -> WireError:
    """The error to tell the site about the record at fault."""
    code, words, mend = "record-refused", "It cannot be applied", _MEND
    met = fault.__cause__
    if isinstance(met, Refusal):
        code, words, mend = met.code, met.words, met.mend or mend
        if code == "record-refused":
            words = f"Central refuses {fault.model} {fault.key}: {words}"
    elif met is not None:
        words = f"Central's database refuses {fault.model} {fault.key}: {words_of(met)}"
    return WireError(code, words, mend, fault.seq, model=fault.model, key=fault.key)


def shown(key: Sequence[Any]) -> str:
    """A key for people to read: the parts of its wire value, comma-separated."""
    return printable(", ".join(_part(value) for value in key), LONGEST_NAME)


def _part(value: Any) -> str:
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else value[:LONGEST_NAME].hex()
    if isinstance(value, list | tuple):
        return f"({shown(value)})"
    return value[: LONGEST_NAME + 1] if isinstance(value, str) else str(value)
