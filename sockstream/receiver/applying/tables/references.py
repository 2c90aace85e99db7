"""References on the wire, which name a row by its key, and the local primary keys they become."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import connections

from sockstream.receiver.dialects.upserts import Shape, Statements, statements
from sockstream.rows import Kind, Row

from .numbers import Numbers
from .reduce import frozen_key

_MOST = 50_000


class References:
    """Finds local primary keys, many at a time, and remembers a bounded number of them.

    `numbers` knows those of rows that are not there.
    """

    def __init__(self, using: str, numbers: Numbers | None = None) -> None:
        self._using = using
        self._numbers = numbers
        self._known: dict[str, dict[Any, Any]] = {}
        self._size = 0

    def local(self, target: Row, names: Sequence[Any]) -> list[Any]:
        """The local primary keys of the rows of `target` with these wire keys.

        None for None, and for a row that central neither has nor has promised a number.
        """
        asked = [frozen_key([name])[0] for name in names]
        known = self._known.setdefault(target.label, {})
        wanted = list(dict.fromkeys(n for n in asked if n is not None and n not in known))
        found = self._find(target, wanted) if wanted else []
        fresh = dict(zip(wanted, found, strict=True))
        result = [known.get(name, fresh.get(name)) for name in asked]
        self._remember(known, fresh)
        return result

    def draw(self, target: Row, names: Sequence[Any]) -> list[int] | None:
        """Numbers for rows of `target` that are still to come; None if none can be promised."""
        assert self._numbers is not None
        return self._numbers.draw(target, [frozen_key([name])[0] for name in names])

    def promises(self, target: Row) -> bool:
        """Whether rows of `target` may have been promised a number."""
        return self._numbers is not None and self._numbers.promises(target)

    def promised(self, target: Row, keys: Sequence[Any]) -> list[int | None]:
        """The number that each row with one of these keys (see reduce.Net) has to get, or None."""
        assert self._numbers is not None
        return self._numbers.of(target, keys)

    def _find(self, target: Row, names: list[Any]) -> list[Any]:
        if target.label == "contenttypes.contenttype":
            return [self._content_type(name) for name in names]
        parts: list[Sequence[Any]] = [names]
        if len(target.key) > 1:
            parts = list(zip(*names, strict=True))
        for number, column in enumerate(target.key):
            if column.kind is Kind.REFERENCE and column.target is not None:
                parts[number] = self.local(column.target, parts[number])
        if target.local_pk is None and len(target.key) == 1:
            return list(parts[0])
        with connections[self._using].cursor() as cursor:
            found: list[Any] = _finder(self._using, target).find(cursor, parts)
        if None in found and self.promises(target):
            absent = [at for at, pk in enumerate(found) if pk is None]
            promised = self.promised(target, [names[at] for at in absent])
            for at, pk in zip(absent, promised, strict=True):
                found[at] = pk
        return found

    def _content_type(self, name: Any) -> Any:
        app_label, model = name
        manager = ContentType.objects.db_manager(self._using)
        return manager.get_or_create(app_label=app_label, model=model)[0].pk

    def _remember(self, known: dict[Any, Any], fresh: dict[Any, Any]) -> None:
        found = {name: pk for name, pk in fresh.items() if pk is not None}
        known.update(found)
        self._size += len(found)
        if self._size > _MOST:
            self.forget_all()

    def forget(self, label: str, names: Iterable[Any]) -> None:
        """These rows of a model are deleted."""
        if known := self._known.get(label):
            for name in names:
                known.pop(name, None)

    def forget_all(self) -> None:
        """What was found may be rolled back, or wrong."""
        self._known.clear()
        self._size = 0


@functools.lru_cache(maxsize=1_000)
def _finder(using: str, target: Row) -> Statements:
    return statements(Shape(target.table, target.key, wanted=target.pk), connections[using])
