"""Records reduced to their net effect on each row.

An insert and an update carry the whole row and a delete its key, so the last record of a row says
how it ends. The first one says whether central should have had the row before: an insert expects
that it has not, an update and a delete expect that it has, a save of a snapshot expects nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sockstream.wire.records import DELETE, INSERT, SAVE

Key = Any
Values = Sequence[Any]


@dataclass(slots=True)
class Net:
    """What the records of one table amount to: rows by what was there first and what remains.

    `key_width` is how many of a record's values are its key. A key of one part is that value,
    every other key a tuple; parts that are lists (references) become tuples if `nested`.
    """

    key_width: int = 1
    nested: bool = False
    first: dict[Key, int] = field(default_factory=dict)
    last: dict[Key, Values | None] = field(default_factory=dict)

    def key(self, values: Values) -> Key:
        """The key that these values begin with, as a dict can hold it."""
        if self.nested:
            frozen = frozen_key(values[: self.key_width])
            return frozen[0] if self.key_width == 1 else frozen
        return values[0] if self.key_width == 1 else tuple(values[: self.key_width])

    def parts(self, key: Key) -> Sequence[Any]:
        """The parts of a key of `key`."""
        return (key,) if self.key_width == 1 else key

    def inserts(self) -> list[Values]:
        """Rows that are there now, and were not before."""
        first = self.first
        return [row for key, row in self.last.items() if row is not None and first[key] == INSERT]

    def updates(self) -> list[Values]:
        """Rows that are there now, and were before."""
        first, new = self.first, (INSERT, SAVE)
        return [row for key, row in self.last.items() if row is not None and first[key] not in new]

    def saves(self) -> list[Values]:
        """Rows that are there now, and may have been before."""
        first = self.first
        return [row for key, row in self.last.items() if row is not None and first[key] == SAVE]

    def deletes(self) -> list[Sequence[Any]]:
        """Keys of rows that were there before, and are not now."""
        new = (INSERT, SAVE)
        return [self.parts(key) for key in self.gone() if self.first[key] not in new]

    def passing(self) -> list[Sequence[Any]]:
        """Keys of rows that came and went: nothing to do, unless central has them already."""
        return [self.parts(key) for key in self.gone() if self.first[key] == INSERT]

    def saved_and_gone(self) -> list[Sequence[Any]]:
        """Keys of rows that a snapshot found and that are not there now."""
        return [self.parts(key) for key in self.gone() if self.first[key] == SAVE]

    def keep_gone(self) -> None:
        """Forget the rows that are there now."""
        self.last = dict.fromkeys(self.gone())

    def gone(self) -> list[Key]:
        """Keys of rows that are not there now."""
        return [key for key, row in self.last.items() if row is None]

    def there(self) -> list[Key]:
        """Keys of rows that are there now."""
        return [key for key, row in self.last.items() if row is not None]

    def new(self) -> list[Key]:
        """Keys of rows that are there now, and were not, or may not have been, before."""
        first, new = self.first, (INSERT, SAVE)
        return [key for key, row in self.last.items() if row is not None and first[key] in new]


def reduce(records: Iterable[Sequence[Any]], nets: Sequence[Net]) -> None:
    """Add `records`, each `[op, index, values]`, to the nets that their index names.

    The order of the records is that of their sequence numbers. This is the applier's one loop over
    records, hence its bareness.
    """
    for op, index, values in records:
        net = nets[index]
        if net.key_width == 1 and not net.nested:
            key = values[0]
        else:
            key = net.key(values)
        if key not in net.first:
            net.first[key] = op
        net.last[key] = None if op == DELETE else values


def frozen_key(values: Iterable[Any]) -> tuple[Any, ...]:
    """Lists as tuples, all the way down."""
    return tuple(frozen_key(value) if isinstance(value, list) else value for value in values)
