"""How parked rows look: in a table, as JSON, and one of them with its values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sockstream.exceptions import printable
from sockstream.wire.records import DELETE, INSERT, SAVE, UPDATE, decode_header

from .applying.parking.entries import decoded
from .applying.parts import Headers
from .models import Cause, Parked

OPS = {INSERT: "insert", UPDATE: "update", DELETE: "delete", SAVE: "save"}


def as_dict(parked: Parked) -> dict[str, Any]:
    """What `list --json` prints of a record; docs/operations.md explains the keys."""
    return {
        "id": parked.pk,
        "source": parked.source.name,
        "stream": parked.stream,
        "epoch": parked.epoch[:8],
        "seq": parked.seq,
        "last_seq": parked.last_seq,
        "op": OPS[parked.op],
        "model": parked.model,
        "key": parked.key,
        "cause": parked.cause,
        "behind": parked.behind,
        "code": parked.code,
        "error": parked.error,
        "parked_at": parked.parked_at,
        "retried_at": parked.retried_at,
    }


def as_json(rows: Iterable[Parked]) -> str:
    """A list of objects."""
    return json.dumps([as_dict(row) for row in rows], indent=2, cls=DjangoJSONEncoder)


def why(parked: Parked) -> str:
    """Why it is parked, in a few words."""
    if parked.cause == Cause.FAULT:
        return parked.error
    return f"refers to the row of {parked.behind}"


def values(parked: Parked) -> list[tuple[str, str]]:
    """The record's fields and values, for people to read."""
    (layout,) = decode_header(bytes(parked.layout))
    _, _, found = decoded(parked, Headers({}, "")).records[0]
    return [
        (name, readable(value))
        for name, value in zip(layout.keys + layout.others, found, strict=False)
    ]


def readable(value: Any) -> str:
    """A wire value as text; bytes as a UUID if they can be one, else in hex."""
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else value.hex()
    if isinstance(value, list):
        return f"({', '.join(map(readable, value))})"
    return "NULL" if value is None else str(value)


def _cell(text: str) -> str:
    """Text as a terminal may show it: much of it is a site's."""
    return escape(printable(text))


def show_list(rows: Sequence[Parked], console: Console) -> None:
    """A table of the records."""
    if not rows:
        console.print("Nothing is parked.")
        return
    table = Table(title="parked", title_justify="left")
    for title in ("ID", "seq"):
        table.add_column(title, justify="right")
    for title in ("stream", "op", "model", "key", "why", "since"):
        table.add_column(title, overflow="fold")
    for row in rows:
        texts = (f"{row.source.name}/{row.stream}", OPS[row.op], row.model, row.key, why(row))
        since = f"{row.parked_at:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(str(row.pk), row.seqs, *map(_cell, texts), since)
    console.print(table)


def show_one(parked: Parked, console: Console) -> None:
    """All that is kept of a record."""
    about = {**as_dict(parked), "error": f"{parked.code}: {parked.error}"}
    del about["code"]
    table = Table(show_header=False, title=_cell(str(parked)), title_justify="left")
    for name, value in about.items():
        table.add_row(name, _cell("" if value is None else str(value)))
    table.add_section()
    for name, text in values(parked):
        table.add_row(_cell(name), _cell(text))
    console.print(table)
