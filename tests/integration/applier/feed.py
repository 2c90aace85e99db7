"""A site without a database: instances go in, the batches that a site would send come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.db import models

from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.streams import offsets
from sockstream.receiver.streams.offsets import Opened
from sockstream.rows import Column, Kind, Row, describe
from sockstream.wire.digest import ZERO
from sockstream.wire.messages import Hello
from sockstream.wire.records import DELETE, INSERT, UPDATE, Batch, BatchBuilder, Layout

EPOCH = bytes(range(16))


def epoch_of(source: str, stream: str = "default") -> bytes:
    """No two streams have one epoch; that of `site-a` is easy to read."""
    if (source, stream) == ("site-a", "default"):
        return EPOCH
    return blake2b(f"{source}/{stream}".encode(), digest_size=16).digest()


class Feed:
    """One stream: numbers, digests, and the batch that is being filled."""

    def __init__(self) -> None:
        self.seq = 0
        self.digest = ZERO
        self.sent: list[Batch] = []
        self._builder = BatchBuilder(1, ZERO)

    def insert(self, *rows: models.Model, **wanted: Any) -> Feed:
        """Records of new rows."""
        return self._add(INSERT, rows, **wanted)

    def update(self, *rows: models.Model, **wanted: Any) -> Feed:
        """Records of changed rows."""
        return self._add(UPDATE, rows, **wanted)

    def delete(self, *rows: models.Model) -> Feed:
        """Records of deleted rows."""
        return self._add(DELETE, rows)

    def raw(self, op: int, layout: Layout, values: Sequence[Any]) -> Feed:
        """A record as it stands on the wire."""
        self._builder.add(op, layout, values)
        return self

    def end(self) -> Feed:
        """What was added since the last end is one group."""
        self._builder.end_group()
        return self

    def batch(self, *, open: bool = False) -> Batch:  # noqa: A002
        """The batch of what was added; the next one follows it."""
        if not open:
            self.end()
        batch = self._builder.build(open=open)
        self.seq, self.digest = batch.last_seq, batch.digest_after
        self._builder = BatchBuilder(self.seq + 1, self.digest)
        self.sent.append(batch)
        return batch

    def hello(self, **changes: Any) -> Hello:
        """What a site that holds all of this says."""
        values: dict[str, Any] = {
            "protocol_min": 1,
            "protocol_max": 1,
            "software": "test",
            "features": (),
            "stream": "default",
            "epoch": EPOCH,
            "parent_epoch": b"",
            "lowest_seq": 1,
            "highest_seq": self.seq,
            "acked_seq": 0,
            "last_session": 0,
            "instance": b"one",
            "host_id": b"",
            "frame_limit": 1 << 24,
            "codecs": (),
            "schema": b"",
            "digest": self.digest,
        }
        return Hello(**(values | changes))

    def opened(self, using: str, source: str = "site-a", **changes: Any) -> Opened:
        """The stream, opened at central."""
        stream = changes.get("stream", "default")
        changes.setdefault("epoch", epoch_of(source, stream))
        return offsets.open_stream(source, self.hello(**changes), using=using)

    def applier(self, using: str, source: str = "site-a", **changes: Any) -> Applier:
        """An applier of the stream that has just been opened."""
        opened = self.opened(using, source, **changes)
        return Applier(source, opened.stream, opened.fence, using=using)

    def _add(self, op: int, rows: Sequence[models.Model], without: Sequence[str] = ()) -> Feed:
        for instance in rows:
            for row in _rows(type(instance), op):
                others = tuple(column for column in row.others if column.name not in without)
                layout = Layout(row.label, row.key_names, tuple(c.name for c in others))
                columns = row.key if op == DELETE else row.key + others
                self._builder.add(op, layout, [wire(instance, column) for column in columns])
        return self


def _rows(model: type[models.Model], op: int) -> list[Row]:
    """The tables that an instance is in: parents first, for a delete last."""
    parents = [parent for parent in model._meta.all_parents if not parent._meta.proxy]
    tables = [describe(each) for each in [*reversed(parents), model]]
    return tables[::-1] if op == DELETE else tables


def wire(instance: models.Model, column: Column) -> Any:
    """The wire value of a column of an instance."""
    value = getattr(instance, column.field.attname)
    if column.kind is Kind.REFERENCE and value is not None:
        assert column.target is not None
        target = getattr(instance, column.field.name)
        parts = [wire(target, part) for part in column.target.key]
        return parts[0] if len(parts) == 1 else parts
    if value is None:
        return None
    return plain(value, column)


def plain(value: Any, column: Column) -> Any:
    """The wire value of a Python value."""
    if column.kind is Kind.JSON:
        return json.dumps(value)
    if column.kind is Kind.DECIMAL:
        places = Decimal(1).scaleb(-(column.places or 0))
        return f"{Decimal(value).quantize(places, context=Context(prec=60)):f}"
    if isinstance(value, list):
        assert column.base is not None
        return [None if each is None else plain(each, column.base) for each in value]
    for known, form in _FORMS.items():
        if isinstance(value, known):
            return form(value)
    return str(value) if column.kind is Kind.TEXT else value


def _datetime(value: datetime) -> str:
    if value.tzinfo is None:
        return str(value)
    return str(value.astimezone(UTC).replace(tzinfo=None)) + "Z"


_FORMS: dict[type, Callable[[Any], Any]] = {
    UUID: lambda value: value.bytes,
    datetime: _datetime,
    date: str,
    time: str,
    timedelta: lambda value: value // timedelta(microseconds=1),
    memoryview: bytes,
}
