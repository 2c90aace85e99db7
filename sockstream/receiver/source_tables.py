"""How the sources are shown to people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def as_json(rows: Iterable[dict[str, Any]]) -> str:
    """A list; docs/operations.md lists its keys."""
    return json.dumps(list(rows), indent=2, cls=DjangoJSONEncoder)


def show(rows: Iterable[dict[str, Any]], console: Console) -> None:
    """Print a table with a line for each stream."""
    table = Table()
    for title in ("source", "state", "stream", "seq", "stream's state", "last seen", "address"):
        table.add_column(title, justify="right" if title == "seq" else "left")
    for row in rows:
        common = (row["source"], row["state"])
        seen = f"{row['last_seen']:%Y-%m-%d %H:%M}"
        for stream in row["streams"] or [{"stream": "", "seq": 0, "state": "", "error_code": ""}]:
            state = " ".join(filter(None, (stream["state"], stream["error_code"])))
            cells = (*common, stream["stream"], f"{stream['seq']:,}", state, seen, row["address"])
            table.add_row(*map(escape, cells))
    console.print(table)
    if not table.row_count:
        console.print("No source yet.")
