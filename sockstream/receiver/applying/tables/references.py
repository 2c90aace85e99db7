"""References on the wire, which name a row by its key, and the local primary keys they become."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import connections

from sockstream.receiver.dialects import Shape, Statements, statements
from sockstream.rows import Kind, Row

from .memory import Memory
from .numbers import Numbers, is_real
from .reduce import frozen_key


class References:
    """Finds local primary keys, many at a time, and remembers a bounded number of them.

    `numbers` knows those of rows that are not there; they are asked for anew each time.
    """

    def __init__(
        self, using: str, memory: Memory | None = None, numbers: Numbers | None = None
    ) -> None:
        self._using = using
        self._memory = memory or Memory()
        self._numbers = numbers

    def local(self, target: Row, names: Sequence[Any]) -> list[Any]:
        """The local primary keys of the rows of `target` with these wire keys.

        None for None, and for a row that is neither there nor has a number reserved.
        """
        asked = [frozen_key([name])[0] for name in names]
        found = self.there(target, asked)
        if self._numbers is not None and self._numbers.reserves(target) and None in found:
            absent = [at for at, pk in enumerate(found) if pk is None and asked[at] is not None]
            reserved = self._numbers.of(target, [asked[at] for at in absent])
            for at, pk in zip(absent, reserved, strict=True):
                found[at] = pk
        return found

    def there(self, target: Row, asked: Sequence[Any]) -> list[Any]:
        """The local primary keys of the rows with these keys (see reduce.Net) that are there."""
        known = self._memory.pks.get(target.label, {})
        wanted = list(dict.fromkeys(n for n in asked if n is not None and n not in known))
        if not wanted:
            return [known.get(name) for name in asked]
        found = zip(wanted, self._find(target, wanted), strict=True)
        fresh = {name: pk for name, pk in found if pk is not None}
        result = [known.get(name, fresh.get(name)) for name in asked]
        self._memory.remember(target.label, fresh)
        return result

    def draw(self, target: Row, names: Sequence[Any]) -> list[int] | None:
        """Numbers for rows of `target` that are still to come; None if none can be drawn."""
        assert self._numbers is not None
        return self._numbers.draw(target, [frozen_key([name])[0] for name in names])

    def reserves(self, target: Row) -> bool:
        """Whether rows of `target` may have a number reserved."""
        return self._numbers is not None and self._numbers.reserves(target)

    def reserved(self, target: Row, keys: Sequence[Any]) -> list[int | None]:
        """The number that each row with one of these keys (see reduce.Net) has to get, or None."""
        assert self._numbers is not None
        return [n if n is not None and is_real(n) else None for n in self._numbers.of(target, keys)]

    def stands_in(self, target: Row) -> bool:
        """Whether a number may stand in for that of a row of `target`."""
        return self._numbers is not None and self._numbers.stand_in(target)

    def came(self, target: Row, keys: Sequence[Any]) -> None:
        """Rows of `target` with these keys (see reduce.Net) are there: what points to them by a
        number that stood in for theirs gets theirs."""
        assert self._numbers is not None
        numbers = zip(keys, self._numbers.of(target, keys), strict=True)
        promised = {key: n for key, n in numbers if n is not None and not is_real(n)}
        if promised:
            there = self.there(target, list(promised))
            self._numbers.replace(target, promised, there)
            self._memory.forget_pks()

    def keep(self, target: Row, keys: Sequence[Any]) -> None:
        """Rows of `target` with these keys (see reduce.Net) are about to be deleted."""
        if self._numbers is not None and target.number is not None:
            self._numbers.keep(target, keys, self.there(target, keys))

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
        return found

    def _content_type(self, name: Any) -> Any:
        """None for a model that is not installed here: a site must not fill a table of ours."""
        if not all(isinstance(part, str) for part in name) or not _is_installed(*name):
            return None
        types = ContentType.objects.db_manager(self._using)
        return types.get_or_create(app_label=name[0], model=name[1])[0].pk

    def forget(self, label: str, names: Iterable[Any]) -> None:
        """These rows of a model are deleted."""
        if known := self._memory.pks.get(label):
            for name in names:
                known.pop(name, None)


def _is_installed(app_label: str, model: str) -> bool:
    try:
        apps.get_model(app_label, model)
    except LookupError:
        return False
    return True


@functools.lru_cache(maxsize=1_000)
def _finder(using: str, target: Row) -> Statements:
    return statements(Shape(target.table, target.key, wanted=target.pk), connections[using])
