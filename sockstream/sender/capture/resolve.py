"""Finds the key of a reference's target that was not there when the trigger looked for it.

With deferred constraints a row may be written before the one that it points to; a cascade of the
database deletes a row after the one that it pointed to is gone. Both are captured in the same
transaction, with the local primary key beside the key: so the answer is among the captured rows,
or, if the target's model is not captured, in its table.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connections, models

from sockstream.rows import describe
from sockstream.sender.models import Capture, CaptureLayout

from . import converters, layouts, marks, reading, row_security
from .decode import Decoder, Missing
from .decode import compile as compile_decoder

logger = logging.getLogger(__name__)

_REMEMBERED = 100_000


class Resolver:
    """Fills what is Missing in captured rows, in the order of their ids.

    It remembers the keys of the rows that were deleted last, since their captured rows are
    removed from the capture table while those that pointed to them are still to come.
    """

    def __init__(self, using: str) -> None:
        self._connection = connections[using]
        self._deleted: dict[tuple[str, Any], Any] = {}
        self._captured: dict[str, dict[Any, Any]] = {}
        self._captured_to = 0

    def concerns(self, decoder: Decoder) -> bool:
        """Whether rows of this layout have to be settled."""
        return decoder.points or decoder.has_pk

    def settled(self, decoder: Decoder, op: str, data: str, values: Sequence[Any]) -> Sequence[Any]:
        """The values that the decoder gave for a row, less what is Missing.

        To be asked row by row, in the order of their ids. A reference whose target is nowhere
        dangles here already; it travels as None, and the log says so.
        """
        if decoder.points and decoder.unresolved(op, values):
            values = [
                self._find(value, op, decoder.model) if isinstance(value, Missing) else value
                for value in values
            ]
        if op == "D" and decoder.has_pk:
            self._remember(decoder, data, values)
        return values

    def _remember(self, decoder: Decoder, data: str, values: Sequence[Any]) -> None:
        self._deleted[decoder.model, decoder.local_pk("D", data)] = _key(values)
        if len(self._deleted) > _REMEMBERED:
            del self._deleted[next(iter(self._deleted))]

    def _find(self, missing: Missing, op: str, model: str) -> Any:
        steps: list[Callable[[Missing], Any]] = [self._among_captured, self._among_deleted]
        if op == "D":
            steps.reverse()
        for step in (*steps, self._in_table):
            if (found := step(missing)) is not None:
                return found
        logger.warning(
            "A row of %s points by %s to a row of %s that is not there (%s); it is sent as null",
            *(model, missing.column, missing.model, missing.local),
        )
        return None

    def _among_deleted(self, missing: Missing) -> Any:
        return self._deleted.get((missing.model, missing.local))

    def _among_captured(self, missing: Missing) -> Any:
        known = self._captured.get(missing.model, {}).get(missing.local)
        if known is None and self._is_new(missing.model):
            self._captured[missing.model] = dict(self._read(missing.model))
            known = self._captured[missing.model].get(missing.local)
        return known

    def _is_new(self, model: str) -> bool:
        """Whether rows were captured since the capture table was read for this model."""
        last = Capture.objects.using(self._connection.alias).order_by("-id").values_list("id")[:1]
        end = next((id_ for (id_,) in last), 0)
        if end != self._captured_to:
            self._captured.clear()
            self._captured_to = end
        return model not in self._captured

    def _read(self, model: str) -> Iterator[tuple[Any, Any]]:
        """The local primary keys and the keys of the rows of a model that are captured now."""
        using = self._connection.alias
        decoders = {
            layout.id: compile_decoder(json.loads(layout.definition))
            for layout in CaptureLayout.objects.using(using).filter(model=model)
        }
        rows = Capture.objects.using(using).filter(layout__in=decoders).order_by("id")
        rows = rows.exclude(op__in=marks.ALL)
        for op, layout, data in rows.values_list("op", "layout", "data").iterator():
            decoder = decoders[layout]
            if not decoder.has_pk:
                continue
            key = decoder.values(op, data)[: len(decoder.key_names)]
            if not any(isinstance(part, Missing) for part in key):
                yield decoder.local_pk(op, data), _key(key)

    def _in_table(self, missing: Missing) -> Any:
        try:
            model: type[models.Model] = apps.get_model(missing.model)
        except LookupError:
            return None
        target, using = describe(model), self._connection.alias
        try:
            # A savepoint, for a table that migrations have yet to make.
            with row_security.every_row(using, row_security.tables_of_key(target)):
                key = reading.key_of(target, missing.local, using)
        except DatabaseError:
            return None
        convert = converters.converter(*layouts.reference_shape(target))
        return key if key is None or convert is None else convert(key)


def _key(values: Sequence[Any]) -> Any:
    """A key as a reference to it holds it."""
    return values[0] if len(values) == 1 else list(values)
