"""What was captured, and what it makes of an empty database."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import models, router
from django.db.models import Q

from sockstream.conf import settings
from sockstream.rows import captured_models, describe
from sockstream.sender.capture import decode, marks
from sockstream.sender.capture.layouts import python_plan
from sockstream.sender.capture.reading import Reader
from sockstream.sender.capture.resolve import Resolver
from sockstream.sender.models import Capture, CaptureLayout

Key = tuple[str, Any]
State = dict[Key, Any]


@dataclass(frozen=True)
class Record:
    """One captured write. A delete has no values, and a mark no key."""

    op: str
    model: str
    key: Any
    values: Any = None
    txid: int | None = None


def take(using: str) -> list[Record]:
    """What was captured since the last call, in order."""
    decoders = {
        layout.id: decode.compile(json.loads(layout.definition))
        for layout in CaptureLayout.objects.using(using).all()
    }
    resolver = Resolver(using)
    taken = list(Capture.objects.using(using).order_by("id"))
    records = []
    for row in taken:
        row.delete(using=using)  # as the sequencer removes what it has read
        decoder = decoders[row.layout]
        if row.op in marks.EMPTIED:
            records.append(Record(row.op, decoder.model, None, None, row.txid))
            continue
        values = frozen(
            resolver.settled(decoder, row.op, row.data, decoder.values(row.op, row.data))
        )
        keys = len(decoder.key_names)
        others = dict(zip(decoder.other_names, values[keys:], strict=False))
        written = None if row.op == "D" else others
        records.append(Record(row.op, decoder.model, values[:keys], written, row.txid))
    return records


def replayed(records: Iterable[Record], before: State | None = None) -> State:
    """The rows that the records leave behind. Each has to meet what it expects there."""
    state = dict(before or {})
    for record in records:
        if record.op in marks.EMPTIED:
            state = {key: row for key, row in state.items() if key[0] != record.model}
            continue
        key = (record.model, record.key)
        if record.op == "I":
            assert key not in state, f"inserted twice: {record}"
        else:
            assert key in state, f"not there: {record}"
        if record.op == "D":
            del state[key]
        else:
            state[key] = record.values
    return state


def truth(using: str, chosen: Iterable[type[models.Model]] | None = None) -> State:
    """Every row of the captured models, as Django reads it."""
    state = {}
    for model in captured_models(settings()) if chosen is None else chosen:
        if not router.allow_migrate_model(using, model):
            continue
        row = describe(model)
        decoder = decode.compile(python_plan(row).definition)
        for data in Reader(model, using).rows(Q()).values():
            values = frozen(decoder.values("I", data))
            keys = len(row.key)
            others = dict(zip(decoder.other_names, values[keys:], strict=True))
            state[row.label, values[:keys]] = others
    return state


def frozen(value: Any) -> Any:
    """The value with tuples for lists, and a not-a-number that equals itself."""
    if isinstance(value, list):
        return tuple(map(frozen, value))
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return value
