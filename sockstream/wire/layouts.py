"""Layouts: what the values of a record are, and how many there are of them by its op."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import msgpack  # type: ignore[import-untyped]

from .bounded import SCALARS, check_depth, second_of_each, unpack_one
from .errors import WireError
from .limits import DEFAULT

INSERT = 1
UPDATE = 2
DELETE = 3
SAVE = 4
"""A row as a snapshot found it, whatever the receiver has."""
BEGIN, LOAD, END = 5, 6, 7
"""Marks of a snapshot, without values: it will bring the layout's model; the rows follow; they
were all, and what else the stream brought of this model is gone."""

MAX_NAME = 255
_OPS = frozenset({INSERT, UPDATE, DELETE, SAVE, BEGIN, LOAD, END})


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of the values in a record: the model's label, its key fields, the others."""

    label: str
    keys: tuple[str, ...]
    others: tuple[str, ...]

    def width(self, op: int) -> int:
        """How many values a record has."""
        if op >= BEGIN:
            return 0
        return len(self.keys) if op == DELETE else len(self.keys) + len(self.others)


class Header:
    """The layouts of a batch, and how many values its records have."""

    def __init__(self, layouts: Sequence[Layout]) -> None:
        self.layouts = tuple(layouts)
        self.widths = _Widths(self.layouts)

    @classmethod
    def of(cls, header: bytes) -> Self:
        """Decoded. Raises WireError bad-frame or bad-batch."""
        return cls(decode_header(header))

    def unused(self, parts: Iterable[bytes], count: int) -> str | None:
        """The label of a layout that none of the `count` records in `parts` is of, if there is one:
        it would take memory that nobody paid for.
        """
        left = set(range(len(self.layouts)))
        if len(left) == 1:
            return None  # A record of another one is found when it is decoded.
        if len(left) <= count:
            for index in chain.from_iterable(map(second_of_each, parts)):
                left.discard(index)
                if not left:
                    return None
        return self.layouts[min(left)].label

    def check(self, records: Iterable[Any], depth: int) -> int:
        """How many elements their values hold, all together.

        Raises WireError bad-record unless each is an op, a layout and values that fit it; and
        bad-frame unless the values have at most this depth.
        """
        widths, plain, nested = self.widths, SCALARS.issuperset, 0
        try:
            for op, index, values in records:
                if widths[op, index] != len(values) or type(values) is not list:
                    raise WireError("bad-record", "A record does not fit its layout")
                if type(op) is not int or type(index) is not int:
                    raise WireError("bad-record", "A record has no op or no layout")
                if not plain(map(type, values)):
                    nested += sum(check_depth(value, depth) for value in values)
        except (TypeError, ValueError):
            words = "A record is not an op, a layout and values"
            raise WireError("bad-record", words) from None
        return nested


class _Widths(dict[tuple[int, int], int]):
    """How many values a record has, by op and layout; filled as it is asked.

    Raises TypeError or ValueError for what is neither.
    """

    def __init__(self, layouts: tuple[Layout, ...]) -> None:
        self._layouts = layouts

    def __missing__(self, key: tuple[int, int]) -> int:
        op, index = key
        if op not in _OPS or not 0 <= index < len(self._layouts):
            raise ValueError
        width = self[key] = self._layouts[index].width(op)
        return width


def encode_header(layouts: tuple[Layout, ...]) -> bytes:
    """The header of a batch."""
    packed: bytes = msgpack.packb([[each.label, each.keys, each.others] for each in layouts])
    return packed


def decode_header(header: bytes) -> tuple[Layout, ...]:
    """The layouts of a header. Raises WireError bad-frame or bad-batch."""
    found = unpack_one(header, DEFAULT)
    if type(found) is not list or not found:
        raise WireError("bad-batch", "The header of a batch is no list of layouts")
    return tuple(_layout(each) for each in found)


def _layout(found: Any) -> Layout:
    match found:
        case [str(label), [_, *_] as keys, list(others)] if _are_names([label]) and _are_names(
            keys + others
        ):
            return Layout(label, tuple(keys), tuple(others))
    raise WireError("bad-batch", "A layout is not a label, its keys and its other fields")


def _are_names(names: list[Any]) -> bool:
    if not all(type(name) is str and name for name in names) or len({*names}) != len(names):
        return False
    if max(map(len, names)) > MAX_NAME:
        raise WireError("bad-batch", f"A name in a layout is longer than {MAX_NAME} characters")
    return True
