"""The parked rows, as an applier remembers them, and what depends on them.

A record depends on a parked row if it is of that row, or if it refers to the row and the row is
not there because its insert is parked. Names are msgpack, so that whatever came as a key can be
looked up.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack  # type: ignore[import-untyped]

from sockstream.receiver.applying.plans import IN_DATABASE, Plan
from sockstream.rows import Kind, describe
from sockstream.wire.records import BEGIN, DELETE

Names = dict[str, bytes]
"""What a row is called: "" for its key, and each other field that foreign keys point to."""


class Row(NamedTuple):
    """A parked row. `seq`: its first parked record. `absent`: central does not have the row."""

    seq: int
    absent: bool
    names: Names


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a record names another row: the position of the value, and what it is a name of."""

    position: int
    label: str
    field: str
    in_parts: bool

    def name(self, values: Sequence[Any]) -> bytes:
        """The name in these values; empty if the reference is NULL."""
        value = values[self.position]
        if value is None:
            return b""
        return _packed(value if self.in_parts else [value])


class ParkedRows:
    """The parked rows of one stream."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, Row]] = {}
        self._absent: dict[tuple[str, str], dict[bytes, int]] = {}

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def put(self, label: str, name: bytes, row: Row | None) -> None:
        """The row that this is the key's name of is parked like this, or not any more."""
        of_model = self._rows.setdefault(label, {})
        if (old := of_model.pop(name, None)) is not None and old.absent:
            for field, called in old.names.items():
                absent = self._absent[label, field]
                if absent.get(called) == old.seq:
                    del absent[called]
        if row is not None:
            of_model[name] = row
            if row.absent:
                for field, called in row.names.items():
                    self._absent.setdefault((label, field), {})[called] = row.seq

    def find(self, label: str, key: Sequence[Any]) -> Row | None:
        """The row of a model with a key of these parts, if it is parked."""
        of_model = self._rows.get(label)
        return of_model.get(_packed(key)) if of_model else None

    def concerns(self, plan: Plan) -> bool:
        """Whether a record of this plan may have to wait."""
        return (
            plan.cascades
            or bool(self._rows.get(plan.label))
            or any(self._absent.get((ref.label, ref.field)) for ref in references(plan))
        )

    def awaited(self, plan: Plan, op: int, values: Sequence[Any], own: Row | None) -> int:
        """The first record of another parked row that the record has to wait for; 0 if there is
        none. A mark of a snapshot never waits. `own`: the row of the record, if it is parked.
        """
        if op >= BEGIN:
            return 0
        if op == DELETE:
            return self._child(plan, own)
        for ref in references(plan):
            if absent := self._absent.get((ref.label, ref.field)):
                seq = absent.get(ref.name(values), 0)
                if seq and (own is None or seq != own.seq):
                    return seq
        return 0

    def _child(self, plan: Plan, own: Row | None) -> int:
        """A delete that the database cascades must not take a row whose last state is parked."""
        for label in _cascading(plan):
            children = (row.seq for row in self._rows.get(label, {}).values() if row is not own)
            if last := max(children, default=0):
                return last
        return 0

    def refers(self, plan: Plan, values: Sequence[Any]) -> int:
        """The first record of the parked row that the record refers to, whether central should
        have it or not; 0 if there is none.
        """
        for ref in references(plan):
            of_model = self._rows.get(ref.label) if not ref.field else None
            if of_model and (row := of_model.get(ref.name(values))):
                return row.seq
        return 0


def key_name(plan: Plan, values: Sequence[Any]) -> bytes:
    """What other records call the row of this one by its key."""
    return _packed(values[: plan.key_width])


def names_of(plan: Plan, op: int, values: Sequence[Any]) -> Names:
    """What other records may call the row of this one."""
    names = {"": key_name(plan, values)}
    if op != DELETE:
        columns = {column.name: number for number, column in enumerate(plan.columns)}
        for field in _pointed_to(plan) & columns.keys():
            names[field] = _packed([values[columns[field]]])
    return names


def packed_names(names: Names) -> bytes:
    """Names as they are stored."""
    return _packed(names)


def unpacked_names(stored: bytes) -> Names:
    """Names that were stored."""
    names: Names = msgpack.unpackb(stored)
    return names


@functools.lru_cache(maxsize=1_000)
def references(plan: Plan) -> tuple[Reference, ...]:
    """Where the records of a plan name other rows."""
    return tuple(
        _reference(number, column)
        for number, column in enumerate(plan.columns)
        if column.parent is not None
    )


def _reference(position: int, column: Any) -> Reference:
    target = describe(column.field.related_model)
    pointed = column.field.target_field.name
    by_key = column.kind is Kind.REFERENCE or target.key_names == (pointed,)
    in_parts = column.kind is Kind.REFERENCE and len(target.key) > 1
    return Reference(position, column.parent, "" if by_key else pointed, in_parts)


@functools.lru_cache(maxsize=1_000)
def _pointed_to(plan: Plan) -> frozenset[str]:
    """The fields, other than a key of one part, that foreign keys of other rows point to."""
    relations = plan.row.model._meta.get_fields(include_hidden=True)
    fields = {
        relation.field.target_field.name
        for relation in relations
        if relation.auto_created and not relation.concrete and not relation.many_to_many
    }
    return frozenset(fields - ({plan.row.key_names[0]} if plan.key_width == 1 else set()))


@functools.lru_cache(maxsize=1_000)
def _cascading(plan: Plan) -> tuple[str, ...]:
    """The models whose rows the database deletes with a row of this plan's."""
    return tuple(
        relation.related_model._meta.label_lower
        for relation in plan.row.model._meta.related_objects
        if isinstance(relation.on_delete, IN_DATABASE)
    )


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
