"""Reads docs/protocol.md: its tables and its vectors."""

from __future__ import annotations

import ast
import re
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from sockstream.wire.messages import Message, Records
from sockstream.wire.records import Batch, Segment

PATH = Path(__file__).parents[3] / "docs" / "protocol.md"

_BLOCK = re.compile(r"^```vector (\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SECTION = re.compile(r"^### (\d+): (\w+)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| (\d+) \| `(\w+)` \| ([\w ]+) \| (.+?) \| `(.*)` \|$", re.MULTILINE)
_BINARY = re.compile(r"h'([0-9a-f]*)'")

KINDS = {kind.__name__.lower(): kind for kind in get_args(Message)}


def literal(text: str) -> Any:
    """A value as the page writes it: a Python literal, with h'00ff' for binary."""
    return ast.literal_eval(_BINARY.sub(lambda found: repr(bytes.fromhex(found[1])), text))


class Page:
    """The page as what it says: `tables` has rows (element, name, type, meaning, example)."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def numbers(self) -> dict[str, int]:
        return {name: int(number) for number, name, _ in _SECTION.findall(self.text)}

    @cached_property
    def tables(self) -> dict[str, list[tuple[str, ...]]]:
        return {name: _ROW.findall(part) for _, name, part in _SECTION.findall(self.text)}

    @cached_property
    def blocks(self) -> dict[str, str]:
        return dict(_BLOCK.findall(self.text))

    def frame(self, name: str) -> bytes:
        """The bytes of a vector."""
        return bytes.fromhex(self.blocks[name])

    def example(self, name: str) -> Message:
        """The message that the examples in its table make."""
        values = [literal(example) for *_, example in self.tables[name]]
        if name != "records":
            lists = [tuple(value) if isinstance(value, list) else value for value in values]
            made: Message = KINDS[name](*lists)
            return made
        first_seq, segments, open_, header, before, after, codec, raw_length, data, cut = values
        assert raw_length == len(data)
        parts = tuple(Segment(*part) for part in segments)
        return Records(Batch(first_seq, parts, open_, header, data, before, after, cut), codec)

    def rows(self, heading: str, columns: int) -> list[tuple[str, ...]]:
        """The rows of the tables with so many columns under a heading, without their titles."""
        part = self.text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [tuple(cell.strip() for cell in line[1:-1].split("|")) for line in lines]
        ruled = [n for n, row in enumerate(cells) if set(row[0]) == {"-"}]
        titles = {*ruled, *(n - 1 for n in ruled)}
        return [row for n, row in enumerate(cells) if n not in titles and len(row) == columns]
