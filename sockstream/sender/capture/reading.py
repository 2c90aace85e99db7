"""Reads rows back through Django and captures them, for the capture by signals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connections, models
from django.db.models import ExpressionWrapper, F, Q, QuerySet
from django.db.models.expressions import Combinable, RawSQL
from django.db.models.functions import Cast

from sockstream.rows import Column, Kind, Row, describe
from sockstream.sender.models import Capture

from .layouts import Plan, local_column, python_plan

_MICROSECOND = timedelta(microseconds=1)
_PLAIN: dict[Kind, type[models.Field[Any, Any]]] = {
    Kind.INT: models.BigIntegerField,
    Kind.BOOL: models.BooleanField,
    Kind.FLOAT: models.FloatField,
    Kind.TEXT: models.TextField,
    Kind.DATE: models.DateField,
    Kind.TIME: models.TimeField,
    Kind.DATETIME: models.DateTimeField,
    Kind.INSTANT: models.DateTimeField,
    Kind.DURATION: models.DurationField,
    Kind.UUID: models.UUIDField,
    Kind.BINARY: models.BinaryField,
}
"""Fields that give a column's own value, whatever the model's field makes of it."""
_TEXTS = {Kind.JSON, Kind.RANGE, Kind.RAW}


class Reader:
    """The rows of one table, as they are now. Makes captured rows of them."""

    def __init__(self, model: type[models.Model], using: str) -> None:
        self.row = describe(model)
        self.using = using
        self._plan: Plan = python_plan(self.row)

    def keys(self, condition: Q) -> dict[Any, str]:
        """The primary keys of the rows that meet the condition, each with what a delete holds."""
        return self._read(self.row.key, condition)

    def rows(self, condition: Q) -> dict[Any, str]:
        """The same, each with the data of the whole row."""
        return self._read(self.row.columns, condition)

    def put(self, records: Iterable[tuple[str, str]]) -> None:
        """Capture pairs of an operation and its data."""
        txid = None
        if connections[self.using].vendor == "postgresql":
            txid = RawSQL("pg_current_xact_id()::text::bigint", [])
        number = self._plan.number
        captured = [Capture(txid=txid, op=op, layout=number, data=data) for op, data in records]
        Capture.objects.using(self.using).bulk_create(captured)

    def _read(self, columns: Sequence[Column], condition: Q) -> dict[Any, str]:
        wanted = [local_column(column) for column in columns]
        if self._plan.has_pk and self.row.pk is not None:
            wanted.append(local_column(self.row.pk))
        queryset = _rows(self.row.model, self.using).filter(condition)
        aliases = {f"value_{number}": _plain(column) for number, column in enumerate(wanted)}
        found = queryset.order_by().values_list("pk", *aliases.values())
        return {pk: self._data(columns, wanted, values) for pk, *values in found}

    def _data(
        self, columns: Sequence[Column], wanted: Sequence[Column], values: Sequence[Any]
    ) -> str:
        encoded = [_encoded(*pair) for pair in zip(wanted, values, strict=True)]
        local = encoded[len(columns) :]
        pointing = []
        for index, column in enumerate(columns):
            target = column.target
            if target is not None:
                pointing.append(encoded[index])
                encoded[index] = key_of(target, values[index], self.using)
        return json.dumps([*encoded[: len(columns)], *pointing, *local], ensure_ascii=False)


class Snapshot:
    """The keys of some rows before a write; afterwards it captures what became of them."""

    def __init__(self, model: type[models.Model], using: str, condition: Q | None) -> None:
        self._reader = Reader(model, using)
        self._condition = condition
        self._before = {} if condition is None else self._reader.keys(condition)

    def capture(self, condition: Q | None = None) -> None:
        """Capture the rows that meet `condition` now, or did so before, as they are now."""
        wanted = condition or self._condition
        if wanted is None:
            return
        still = self._reader.keys(Q(pk__in=list(self._before)) | wanted)
        gone = [data for pk, data in self._before.items() if still.get(pk) != data]
        kept = {pk for pk, data in still.items() if self._before.get(pk) == data}
        rows = self._reader.rows(Q(pk__in=list(still)))
        saved = [("U" if pk in kept else "I", data) for pk, data in rows.items()]
        self._reader.put([*(("D", data) for data in gone), *saved])

    def capture_silent(self, told: set[str]) -> None:
        """The same for rows that send no signals, less the deletes in `told`; adds to it."""
        still = self._reader.keys(Q(pk__in=list(self._before)))
        gone = {data for pk, data in self._before.items() if pk not in still} - told
        told |= gone
        self._reader.put(("D", data) for data in gone)
        self.capture_changed()

    def capture_changed(self) -> None:
        """Capture the rows that are still there; those that are gone sent a signal themselves."""
        rows = self._reader.rows(Q(pk__in=list(self._before)))
        self._reader.put(("U", data) for data in rows.values())

    def capture_added(self, *, mirrored: bool) -> None:
        """Capture the pairs of an m2m table that are new.

        Django inserts the mirrored pairs of a symmetrical relation next, and tells nobody.
        """
        assert self._condition is not None
        now = self._reader.rows(self._condition)
        new = [data for pk, data in now.items() if pk not in self._before]
        if mirrored:
            there = set(now.values())
            new += [pair for pair in map(_mirrored, new) if pair not in there]
        self._reader.put(("I", data) for data in new)


def _mirrored(data: str) -> str:
    items = json.loads(data)
    return json.dumps([*reversed(items[:2]), *reversed(items[2:])], ensure_ascii=False)


def _rows(model: type[models.Model], using: str) -> QuerySet[Any]:
    """All rows: a manager of the model's own might hide some."""
    return QuerySet(model=model, using=using)


def _plain(column: Column) -> Combinable:
    source = F(column.field.attname)
    if column.kind in _TEXTS:
        return Cast(source, models.TextField())
    if column.kind is Kind.DECIMAL:
        plain = models.DecimalField(max_digits=1000, decimal_places=column.places)
        return ExpressionWrapper(source, output_field=plain)
    if column.kind in _PLAIN:
        return ExpressionWrapper(source, output_field=_PLAIN[column.kind]())
    return source


def _encoded(column: Column, value: Any) -> Any:
    """What the JSON holds of a value; converters.py reads it."""
    if value is None:
        return None
    if column.kind is Kind.ARRAY and column.base is not None:
        return _encoded_array(column.base, value)
    if column.kind is Kind.DECIMAL and column.places is not None and value.is_finite():
        return f"{value:.{column.places}f}"
    change = _ENCODERS.get(column.kind)
    return value if change is None else change(value)


def _encoded_array(base: Column, value: Any) -> Any:
    if base.kind is Kind.JSON:
        return [None if item is None else json.dumps(item, ensure_ascii=False) for item in value]
    if isinstance(value, list | tuple):
        return [None if item is None else _encoded_array(base, item) for item in value]
    return _encoded(base, value)


def key_of(target: Row, local: Any, using: str) -> Any:
    """The key of the row that a reference points to, as the JSON holds it; None if it is gone.

    `local` is the row's primary key.
    """
    if local is None or target.pk is None:
        return None
    wanted = [local_column(part) for part in target.key]
    rows = _rows(target.model, using).filter(pk=local)
    found = rows.values_list(*map(_plain, wanted)).first()
    if found is None:
        return None
    parts = [
        _encoded(column, value) if part.target is None else key_of(part.target, value, using)
        for part, column, value in zip(target.key, wanted, found, strict=True)
    ]
    if None in parts:
        return None
    return parts[0] if len(parts) == 1 else parts


def _instant(value: datetime) -> str:
    return value.isoformat(" ")


_ENCODERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: str,
    Kind.DECIMAL: str,
    Kind.DATE: lambda value: value.isoformat(),
    Kind.TIME: lambda value: value.isoformat(),
    Kind.DATETIME: _instant,
    Kind.INSTANT: _instant,
    Kind.DURATION: lambda value: value // _MICROSECOND,
    Kind.UUID: lambda value: value.hex,
    Kind.BINARY: lambda value: bytes(value).hex(),
    Kind.RAW: str,
}
