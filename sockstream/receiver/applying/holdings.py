"""Which rows a stream has brought: what its snapshot may take away, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

import msgpack  # type: ignore[import-untyped]
from django.db import connections
from django.db.backends.utils import CursorWrapper
from django.db.models import F

from ...rows import Kind, Row, describe
from ..models import HeldRow, Holding, Source
from .reduce import Values
from .upserts import Shape, Statements, statements

_NAME_SIZE = 16
_AT_ONCE = 5_000


class Holdings:
    """The holdings of one stream, read once each; written in the caller's transaction."""

    def __init__(self, source: str, stream: str, using: str) -> None:
        self._source = source
        self._stream = stream
        self._using = using
        self._known: dict[str, Holding] = {}
        self._statements: Statements | None = None

    def forget(self) -> None:
        """Ask again: what was made or begun may be rolled back."""
        self._known.clear()

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

    def add(self, row: Row, keys: Sequence[Any], cursor: CursorWrapper) -> None:
        """The stream has brought rows with these keys (see reduce.Net)."""
        if not keys:
            return
        holding = self._get(row.label)
        names, packed = _names(row, keys)
        count = len(names)
        columns: list[Values] = [[holding.pk] * count, names, packed, [holding.generation] * count]
        if self._rows.insert(cursor, columns) < count:
            self._rows.update(cursor, columns)

    def remove(self, row: Row, keys: Sequence[Any], cursor: CursorWrapper) -> None:
        """Rows with these keys are gone."""
        if keys:
            holding = self._get(row.label)
            names, _ = _names(row, keys)
            self._rows.delete(cursor, [[holding.pk] * len(names), names])

    def take_stale(self, row: Row, cursor: CursorWrapper) -> list[Sequence[Any]]:
        """Some keys, by their parts, of rows of older generations, which are no longer noted.

        Empty once there are none.
        """
        holding = self._get(row.label)
        stale = HeldRow.objects.using(self._using).filter(
            holding=holding.pk, generation__lt=holding.generation
        )
        found = list(stale.values_list("name", "key")[:_AT_ONCE])
        names = [name.bytes for name, _ in found]
        if names:
            self._rows.delete(cursor, [[holding.pk] * len(names), names])
        return [
            (name.bytes,) if key is None else msgpack.unpackb(bytes(key), use_list=False)
            for name, key in found
        ]

    @property
    def _rows(self) -> Statements:
        if self._statements is None:
            row = describe(HeldRow)
            shape = Shape(row.table, row.key, row.others)
            self._statements = statements(shape, connections[self._using])
        return self._statements

    def _get(self, label: str) -> Holding:
        if label not in self._known:
            source = Source.objects.using(self._using).get(name=self._source)
            holdings = Holding.objects.using(self._using)
            self._known[label], _ = holdings.get_or_create(
                source=source, stream=self._stream, model=label
            )
        return self._known[label]

    def _change(self, label: str, **values: Any) -> None:
        holding = self._get(label)
        Holding.objects.using(self._using).filter(pk=holding.pk).update(**values)
        holding.refresh_from_db(using=self._using)


def _names(row: Row, keys: Iterable[Any]) -> tuple[list[bytes], list[bytes | None]]:
    """What the keys are noted by: a UUID as it is, another key by its digest, with the key."""
    if len(row.key) == 1 and row.key[0].kind is Kind.UUID:
        names = list(keys)
        if set(map(type, names)) == {bytes} and set(map(len, names)) == {_NAME_SIZE}:
            return names, [None] * len(names)
        keys = names
    single = len(row.key) == 1
    packed = [msgpack.packb((key,) if single else key) for key in keys]
    return [blake2b(key, digest_size=_NAME_SIZE).digest() for key in packed], packed
