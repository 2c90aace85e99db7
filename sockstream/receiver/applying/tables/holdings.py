"""Which rows a stream has brought: what its snapshot may take away, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgpack  # type: ignore[import-untyped]
from django.db.backends.utils import CursorWrapper
from django.db.models import F

from sockstream.receiver.dialects import dialect
from sockstream.receiver.models import HeldRow, Holding, Source
from sockstream.rows import Kind, Row

from .memory import Memory

_NAME_SIZE = 16
_AT_ONCE = 5_000

Key = Sequence[Any]

_TABLE = HeldRow._meta.db_table


class Holdings:
    """The holdings of one stream, read once each; written in the caller's transaction."""

    def __init__(self, source: str, stream: str, using: str, memory: Memory | None = None) -> None:
        self._source = source
        self._stream = stream
        self._using = using
        self._dialect = dialect(using)
        self._memory = memory or Memory()

    def id_of(self, label: str) -> int:
        """The primary key of the model's holding."""
        return self._get(label).pk

    def waits(self, label: str) -> bool:
        """Whether a snapshot is to bring the model's rows later, as they are then."""
        return self._get(label).phase == Holding.Phase.WAITING

    def loads(self, label: str) -> bool:
        """Whether a snapshot is bringing the model's rows."""
        return self._get(label).phase == Holding.Phase.LOADING

    def begin(self, label: str) -> None:
        """A snapshot will bring the model's rows: those of now are of an older generation."""
        self._change(label, phase=Holding.Phase.WAITING, generation=F("generation") + 1)

    def load(self, label: str) -> None:
        """The snapshot's rows of the model follow."""
        self._change(label, phase=Holding.Phase.LOADING)

    def end(self, label: str) -> None:
        """All of the model's rows have come."""
        self._change(label, phase=Holding.Phase.NONE)

    def add(
        self, row: Row, keys: Sequence[Any], cursor: CursorWrapper, *, all_new: bool = False
    ) -> None:
        """The stream has brought rows with these keys (see reduce.Net).

        `all_new`: none of them should be noted already; raises IntegrityError if one may be.
        """
        if not keys:
            return
        holding = self._get(row.label)
        names, packed = stored_names(row, keys)
        common = holding.pk, holding.generation
        self._dialect.add_held(cursor, _TABLE, common, names, packed, all_new=all_new)

    def count(self, label: str, names: Sequence[str], cursor: CursorWrapper) -> int:
        """How many of the rows with these names (see `stored_names`) the stream has brought."""
        return self._dialect.count_held(cursor, _TABLE, self.id_of(label), names)

    def held(self, label: str, names: Sequence[str], cursor: CursorWrapper) -> set[str]:
        """The names of those of the rows that the stream has brought."""
        return self._dialect.held(cursor, _TABLE, self.id_of(label), names)

    def remove(self, row: Row, keys: Sequence[Any], cursor: CursorWrapper) -> None:
        """Rows with these keys are gone."""
        if keys:
            names, _ = stored_names(row, keys)
            self._remove(self._get(row.label), names, cursor)

    def _remove(self, holding: Holding, names: Sequence[str], cursor: CursorWrapper) -> None:
        self._dialect.remove_held(cursor, _TABLE, holding.pk, names)

    def take_stale(self, row: Row, cursor: CursorWrapper) -> list[Key]:
        """Some keys, by their parts, of rows of older generations, which are no longer noted.

        Empty once there are none.
        """
        holding = self._get(row.label)
        stale = HeldRow.objects.using(self._using).filter(
            holding=holding.pk, generation__lt=holding.generation
        )
        found = list(stale.values_list("name", "key")[:_AT_ONCE])
        if found:
            self._remove(holding, [name.hex for name, _ in found], cursor)
        return [stored_key(name, key) for name, key in found]

    def _get(self, label: str) -> Holding:
        known = self._memory.holdings
        if label not in known:
            source = Source.objects.using(self._using).get(name=self._source)
            holdings = Holding.objects.using(self._using)
            known[label], _ = holdings.get_or_create(
                source=source, stream=self._stream, model=label
            )
        return known[label]

    def _change(self, label: str, **values: Any) -> None:
        mine = Holding.objects.using(self._using).filter(pk=self._get(label).pk)
        mine.update(**values)
        # Another object: that of before may be what the last commit left.
        self._memory.change(label, mine.get())


def stored_names(row: Row, keys: Iterable[Any]) -> tuple[list[str], list[bytes | None]]:
    """What keys (see reduce.Net) are noted by: a UUID as it is, another one by its digest; the
    second list has those other keys, packed.
    """
    single = len(row.key) == 1
    if single and row.key[0].kind is Kind.UUID:
        keys = list(keys)
        if set(map(type, keys)) == {bytes} and set(map(len, keys)) == {_NAME_SIZE}:
            return [key.hex() for key in keys], [None] * len(keys)
    packed = [msgpack.packb((key,) if single else key) for key in keys]
    return [blake2b(key, digest_size=_NAME_SIZE).hexdigest() for key in packed], packed


def stored_key(name: UUID, packed: bytes | memoryview | None) -> Key:
    """The key that was noted so, by its parts."""
    if packed is None:
        return (name.bytes,)
    key: Key = msgpack.unpackb(bytes(packed), use_list=False)
    return key
