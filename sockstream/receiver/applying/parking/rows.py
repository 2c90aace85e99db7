"""The rows that have parked records, as an applier remembers them, and what depends on them.

A record depends on a parked one if it is of the same row, or if it refers to a row that is not
there because its insert is parked. Names are msgpack, so that whatever came as a key can be
looked up.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack  # type: ignore[import-untyped]

from sockstream.receiver.applying.plans import IN_DATABASE, Plan
from sockstream.receiver.models import Cause
from sockstream.rows import Kind, describe
from sockstream.wire.records import BEGIN, DELETE

Names = dict[str, bytes]
"""What a row is called: "" for its key, and each other field that foreign keys point to."""


@dataclass(frozen=True, slots=True)
class Behind:
    """Why a record has to wait, and for which one."""

    cause: Cause
    seq: int


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a record names another row: the position of the value, and what it is a name of."""

    position: int
    label: str
    field: str
    in_parts: bool

    def name(self, values: Sequence[Any]) -> bytes | None:
        """The name in these values; None if the reference is NULL."""
        value = values[self.position]
        if value is None:
            return None
        return _packed(value if self.in_parts else [value])


class ParkedRows:
    """The parked rows of one stream. What was added since `mark` can be taken back."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[bytes, int]] = {}
        self._absent: dict[tuple[str, str], dict[bytes, int]] = {}
        self._since: list[tuple[dict[bytes, int], bytes, int | None]] = []

    def __bool__(self) -> bool:
        return any(self._rows.values())

    def add(self, label: str, names: Names, seq: int, *, absent: bool) -> None:
        """Record `seq` of the row is parked. `absent`: central does not have the row."""
        self._note(self._rows.setdefault(label, {}), names[""], seq)
        if absent:
            for field, name in names.items():
                self._note(self._absent.setdefault((label, field), {}), name, seq)

    def _note(self, place: dict[bytes, int], name: bytes, seq: int) -> None:
        known = place.get(name)
        self._since.append((place, name, known))
        place[name] = max(seq, known or 0)

    def has(self, label: str, key: Sequence[Any]) -> bool:
        """Whether records of the row with a key of these parts are parked."""
        of_row = self._rows.get(label)
        return of_row is not None and _packed(key) in of_row

    def mark(self) -> None:
        """From here on, what is added can be taken back."""
        self._since.clear()

    def take_back(self) -> None:
        """Forget what was added since the mark."""
        for place, name, known in reversed(self._since):
            if known is None:
                del place[name]
            else:
                place[name] = known
        self._since.clear()

    def concerns(self, plan: Plan) -> bool:
        """Whether a record of this plan may have to wait."""
        return (
            plan.cascades
            or bool(self._rows.get(plan.label))
            or any(self._absent.get((ref.label, ref.field)) for ref in references(plan))
        )

    def behind(self, plan: Plan, op: int, values: Sequence[Any]) -> Behind | None:
        """What the record has to wait for, if anything. A mark of a snapshot never waits."""
        if op >= BEGIN:
            return None
        if of_row := self._rows.get(plan.label):
            seq = of_row.get(_packed(values[: plan.key_width]))
            if seq is not None:
                return Behind(Cause.ROW, seq)
        if op == DELETE:
            return self._behind_children(plan)
        for ref in references(plan):
            absent = self._absent.get((ref.label, ref.field))
            seq = absent.get(ref.name(values) or b"") if absent else None
            if seq is not None:
                return Behind(Cause.REFERENCE, seq)
        return None

    def _behind_children(self, plan: Plan) -> Behind | None:
        """A delete that the database cascades must not take a row whose last moves are parked."""
        for label in _cascading(plan):
            if of_child := self._rows.get(label):
                return Behind(Cause.REFERENCE, max(of_child.values()))
        return None

    def refers(self, plan: Plan, values: Sequence[Any]) -> Behind | None:
        """The parked row that the record refers to, whether central should have it or not."""
        for ref in references(plan):
            of_row = self._rows.get(ref.label) if not ref.field else None
            seq = of_row.get(ref.name(values) or b"") if of_row else None
            if seq is not None:
                return Behind(Cause.REFERENCE, seq)
        return None


def names_of(plan: Plan, op: int, values: Sequence[Any]) -> Names:
    """What other records may call the row of this one."""
    names = {"": _packed(values[: plan.key_width])}
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
