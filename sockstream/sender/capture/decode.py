"""From captured text back to wire values, by a layout's definition alone.

A captured row is a JSON array: the layout's columns, then the local value of each translated
reference, then the local primary key where others may point to it. A delete has the key's part of
each. A table too wide for one function call holds the same in pieces, an array of arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sockstream.exceptions import SockstreamError

from . import converters

VERSION = 1

_loads = json.JSONDecoder().decode


@dataclass(frozen=True, slots=True)
class Missing:
    """A reference whose target was not there when the row was captured.

    `column` is the column's name, `model` the target's label, `local` the target's primary key as
    the capturing trigger writes it.
    """

    column: str
    model: str
    local: Any


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do with the items of one captured array, which are `captured` many."""

    width: int
    captured: int
    converting: tuple[tuple[int, converters.Converter], ...]
    columns: tuple[tuple[int, converters.ColumnConverter], ...]
    references: tuple[tuple[int, int, str, str], ...]


class Decoder:
    """Reads the captured rows of one layout."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        if definition["version"] != VERSION:
            raise SockstreamError(
                "capture-version",
                f"Rows of {definition['model']} were captured by another version of sockstream",
                "Install that version or a newer one",
            )
        columns = definition["columns"]
        keys = definition["keys"]
        names = tuple(column["name"] for column in columns)
        self.model: str = definition["model"]
        self.key_names = names[:keys]
        self.other_names = names[keys:]
        self.has_pk: bool = definition["pk"]
        self._wide: bool = definition["wide"]
        self.points = any(column["kind"] == "reference" for column in columns)
        self._row = _plan(columns, definition)
        self._key = _plan(columns[:keys], definition)

    def values(self, op: str, data: str) -> list[Any]:
        """The wire values, the key's first; only the key's for a delete ("D").

        A reference that could not be translated when the row was captured is `Missing`. Raises
        SockstreamError if the text is no JSON array of the right length: it was tampered with.
        """
        plan = self._key if op == "D" else self._row
        row = self.items(op, data)
        try:
            for index, convert in plan.converting:
                value = row[index]
                if value is not None:
                    row[index] = convert(value)
            for index, local, name, model in plan.references:
                if row[index] is None and row[local] is not None:
                    row[index] = Missing(name, model, row[local])
        except (IndexError, TypeError, KeyError) as error:
            raise self._spoilt(data) from error
        del row[plan.width :]
        return row

    def many(self, op: str, data: Sequence[str]) -> Sequence[Sequence[Any]]:
        """What `values` gives for each of these rows, all of one operation, column by column."""
        plan = self._key if op == "D" else self._row
        columns = self._columns(op, data, plan.captured)
        if columns is None or any(
            (None, False) in zip(columns[index], (pk is None for pk in columns[local]), strict=True)
            for index, local, _, _ in plan.references
        ):
            return [self.values(op, each) for each in data]
        for index, convert in plan.columns:
            columns[index] = convert(columns[index])
        return list(zip(*columns[: plan.width], strict=True))

    def _columns(self, op: str, data: Sequence[str], width: int) -> list[Sequence[Any]] | None:
        """The items by columns; None if one of the rows is not as the triggers write it."""
        try:
            rows = _loads(f"[{','.join(data)}]")
        except ValueError:
            return None
        if len(rows) != len(data) or set(map(type, rows)) != {list}:
            return None
        if self._wide and op != "D":
            if not all(set(map(type, row)) == {list} for row in rows):
                return None
            rows = [[*chain.from_iterable(row)] for row in rows]
        return list(zip(*rows, strict=True)) if set(map(len, rows)) == {width} else None

    def unresolved(self, op: str, values: Sequence[Any]) -> bool:
        """Whether one of the values is Missing."""
        plan = self._key if op == "D" else self._row
        return any(type(values[index]) is Missing for index, _, _, _ in plan.references)

    def local_pk(self, op: str, data: str) -> Any:
        """The local primary key of a captured row, if `has_pk`, as `Missing.local` has it."""
        return self.items(op, data)[-1]

    def items(self, op: str, data: str) -> list[Any]:
        """What a captured text holds, as it was captured."""
        try:
            row = _loads(data)
            return [*chain.from_iterable(row)] if self._wide and op != "D" else row
        except (ValueError, TypeError) as error:
            raise self._spoilt(data) from error

    def _spoilt(self, data: str) -> SockstreamError:
        return SockstreamError(
            "capture-spoilt",
            f"A captured row of {self.model} cannot be read: {data[:100]!r}",
            "Something else than sockstream's triggers wrote into the capture table",
        )


def compile(definition: Mapping[str, Any]) -> Decoder:  # noqa: A001
    """The decoder of a layout's definition (see layouts.definition)."""
    return Decoder(definition)


def _plan(columns: Sequence[Mapping[str, Any]], definition: Mapping[str, Any]) -> _Plan:
    found = (converters.converter(column, definition) for column in columns)
    converting = tuple((i, convert) for i, convert in enumerate(found) if convert is not None)
    pointing = [i for i, column in enumerate(columns) if column["kind"] == "reference"]
    return _Plan(
        width=len(columns),
        captured=len(columns) + len(pointing) + bool(definition["pk"]),
        converting=converting,
        columns=tuple((i, converters.of_column(convert)) for i, convert in converting),
        references=tuple(
            (index, len(columns) + order, columns[index]["name"], columns[index]["target"])
            for order, index in enumerate(pointing)
        ),
    )
