"""How a row is named (its key) and typed (the kind of each column), as both ends need it."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.db import models

from .conf import Settings
from .exceptions import ConfigError

NATURAL_KEYS = {
    "contenttypes.contenttype": ("app_label", "model"),
    "auth.permission": ("content_type", "codename"),
}


class Kind(StrEnum):
    """What a column's wire value is; docs/protocol.md gives the form of each."""

    INT = "int"
    BOOL = "bool"
    FLOAT = "float"
    DECIMAL = "decimal"
    TEXT = "text"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    INSTANT = "instant"
    DURATION = "duration"
    UUID = "uuid"
    JSON = "json"
    BINARY = "binary"
    ARRAY = "array"
    RANGE = "range"
    HSTORE = "hstore"
    REFERENCE = "reference"
    RAW = "raw"
    ANY = "any"


KINDS = {
    "AutoField": Kind.INT,
    "BigAutoField": Kind.INT,
    "SmallAutoField": Kind.INT,
    "IntegerField": Kind.INT,
    "BigIntegerField": Kind.INT,
    "SmallIntegerField": Kind.INT,
    "PositiveIntegerField": Kind.INT,
    "PositiveBigIntegerField": Kind.INT,
    "PositiveSmallIntegerField": Kind.INT,
    "BooleanField": Kind.BOOL,
    "FloatField": Kind.FLOAT,
    "DecimalField": Kind.DECIMAL,
    "CharField": Kind.TEXT,
    "TextField": Kind.TEXT,
    "SlugField": Kind.TEXT,
    "FileField": Kind.TEXT,
    "FilePathField": Kind.TEXT,
    "GenericIPAddressField": Kind.TEXT,
    "IPAddressField": Kind.TEXT,
    "DateField": Kind.DATE,
    "TimeField": Kind.TIME,
    "DurationField": Kind.DURATION,
    "UUIDField": Kind.UUID,
    "JSONField": Kind.JSON,
    "BinaryField": Kind.BINARY,
    "ArrayField": Kind.ARRAY,
    "HStoreField": Kind.HSTORE,
    "IntegerRangeField": Kind.RANGE,
    "BigIntegerRangeField": Kind.RANGE,
    "DecimalRangeField": Kind.RANGE,
    "DateTimeRangeField": Kind.RANGE,
    "DateRangeField": Kind.RANGE,
}


@dataclass(frozen=True)
class Type:
    """The type of a column in one database.

    `name` is what a cast names: no length, since a cast would cut. `base` is the type under a
    domain, `full` the type with its length, `scale` the decimal places of a number, if it has a
    limit of them. `listed`: an array of such values separates them by commas.
    """

    name: str
    base: str
    full: str
    scale: int | None = None
    listed: bool = True


@dataclass(frozen=True)
class Column:
    """One field of a row.

    `kind` is what the field's class says until `columns.stored` has looked at the column; `type`
    is what it found, None where the type is the class's own and nobody has to know.

    `parent` is the label of the model that a reference points to. A reference is of the kind
    REFERENCE only if its database value is the local primary key of a row whose key is something
    else, so that it has to be translated on the way; every other one travels as it is stored.
    """

    name: str
    column: str
    kind: Kind
    nullable: bool = False
    places: int | None = None
    base: Column | None = None
    parent: str | None = None
    type: Type | None = field(default=None, compare=False, repr=False)
    field: Any = field(default=None, compare=False, repr=False)

    @property
    def target(self) -> Row | None:
        """The row that a REFERENCE points to; None for every other kind."""
        return describe(self.field.related_model) if self.kind is Kind.REFERENCE else None


@dataclass(frozen=True)
class Row:
    """How the rows of one table are named and typed."""

    label: str
    table: str
    pk: Column | None
    key: tuple[Column, ...]
    others: tuple[Column, ...]
    is_global: bool
    model: Any = field(default=None, compare=False, repr=False)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The key's columns, then the others: the order of the values in a record."""
        return self.key + self.others

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.key)

    @property
    def other_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.others)

    @property
    def local_pk(self) -> Column | None:
        """The primary key, if it is no part of the key."""
        if self.pk is None or any(column.column == self.pk.column for column in self.key):
            return None
        return self.pk

    @property
    def number(self) -> Column | None:
        """The local primary key, if the database numbers the rows by itself."""
        pk = self.local_pk
        return pk if pk is not None and isinstance(pk.field, models.AutoField) else None


@functools.cache
def describe(model: type[models.Model]) -> Row:
    """The row of a concrete model, proxies included."""
    model = model._meta.concrete_model or model
    meta = model._meta
    names = key_names(model)
    columns = {f.name: _column(f) for f in meta.local_concrete_fields if not _generated(f)}
    if missing := [name for name in names if name not in columns]:
        raise ConfigError(f"{meta.label} has no column of its own for its key {missing[0]!r}")
    pk = None if _is_composite(model) else _column(meta.pk)
    stays = pk is not None and isinstance(meta.pk, models.AutoField) and meta.pk.name not in names
    others = tuple(
        column
        for name, column in columns.items()
        if name not in names and not (stays and name == meta.pk.name)
    )
    return Row(
        label=meta.label_lower,
        table=meta.db_table,
        pk=pk,
        key=tuple(columns[name] for name in names),
        others=others,
        is_global=_is_global(model, names),
        model=model,
    )


def key_names(model: type[models.Model]) -> tuple[str, ...]:
    """The names of the fields that name a row of `model` wherever it travels.

    A UUID primary key, else a unique UUIDField, else the natural key of ContentType and
    Permission, else both ends of an automatic m2m table, else the primary key.
    """
    meta = model._meta
    if _is_composite(model):
        return tuple(f.name for f in meta.pk_fields)
    if isinstance(meta.pk, models.UUIDField):
        return (meta.pk.name,)
    for f in meta.local_concrete_fields:
        if isinstance(f, models.UUIDField) and f.unique and not f.null:
            return (f.name,)
    if meta.label_lower in NATURAL_KEYS:
        return NATURAL_KEYS[meta.label_lower]
    if meta.auto_created:
        return tuple(f.name for f in meta.local_concrete_fields if f.remote_field)
    return (meta.pk.name,)


def _is_composite(model: type[models.Model]) -> bool:
    return len(getattr(model._meta, "pk_fields", (None,))) > 1


def _is_global(model: type[models.Model], names: Iterable[str]) -> bool:
    if model._meta.label_lower in NATURAL_KEYS:
        return True
    parts: list[Any] = [model._meta.get_field(name) for name in names]
    if any(isinstance(part, models.UUIDField) for part in parts):
        return True
    pointed = [part.related_model for part in parts if part.remote_field]
    return len(pointed) == len(parts) and all(
        _is_global(target, key_names(target)) for target in pointed if target is not model
    )


def _generated(f: Any) -> bool:
    return bool(getattr(f, "generated", False))


def _column(f: Any) -> Column:
    common = {"name": f.name, "column": f.column, "nullable": f.null, "field": f}
    if not f.remote_field:
        return Column(**common, **_typed(f))
    pointed = f.related_model._meta.concrete_model
    common["parent"] = pointed._meta.label_lower
    if _needs_translation(f, pointed):
        return Column(**common, kind=Kind.REFERENCE)
    return Column(**common, **_typed(end_of(f)))


def _needs_translation(f: Any, pointed: type[models.Model]) -> bool:
    """A reference is translated if the value in its column means nothing at central."""
    if not f.target_field.primary_key:
        return False
    names = key_names(pointed)
    if names != (pointed._meta.pk.name,):
        return True
    pk: Any = pointed._meta.pk
    return bool(pk.remote_field) and _needs_translation(pk, pk.related_model)


def end_of(f: Any) -> Any:
    """The field that gives a reference its values: the one that it points to at last."""
    while f.remote_field:
        f = f.target_field
    return f


def _typed(f: Any) -> dict[str, Any]:
    internal = f.get_internal_type()
    if internal == "DateTimeField":
        return {"kind": Kind.INSTANT if django_settings.USE_TZ else Kind.DATETIME}
    kind = KINDS.get(internal) or KINDS.get(type(f).__name__, Kind.RAW)
    if kind is Kind.DECIMAL:
        return {"kind": kind, "places": f.decimal_places}
    if kind is Kind.ARRAY:
        return {
            "kind": kind,
            "base": Column(name=f.name, column=f.column, **_typed(f.base_field)),
        }
    return {"kind": kind}


def captured_models(settings: Settings) -> list[type[models.Model]]:
    """The concrete models that MODELS names less EXCLUDE, with their automatic m2m tables.

    Raises ConfigError that names the label which is not known.
    """
    excluded = set(_named("EXCLUDE", settings.EXCLUDE))
    chosen = dict.fromkeys(_named("MODELS", settings.MODELS))
    return [model for model in chosen if model not in excluded]


def shared_models(settings: Settings) -> list[type[models.Model]]:
    """The concrete models that SHARED names, with their automatic m2m tables: all sources may write
    them, and their keys mean the same everywhere.

    Raises ConfigError that names the label which is not known.
    """
    return list(dict.fromkeys(_named("SHARED", settings.SHARED)))


def _named(key: str, labels: Iterable[str]) -> Iterator[type[models.Model]]:
    for label in labels:
        for model in _models_of(key, label):
            if model._meta.proxy or not model._meta.managed or model._meta.swapped:
                continue
            yield model
            for m2m in model._meta.local_many_to_many:
                through: Any = m2m.remote_field.through
                if through._meta.auto_created:
                    yield through


def _models_of(key: str, label: str) -> Iterable[type[models.Model]]:
    try:
        if "." in label:
            return [apps.get_model(label)]
        return list(apps.get_app_config(label).get_models())
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"SOCKSTREAM[{key!r}] names {label!r}, which is no installed app or model",
            "Correct the label, or add its app to INSTALLED_APPS",
        ) from error


def fingerprint(rows: Iterable[Row]) -> bytes:
    """16 bytes that change when the names or kinds of the columns of `rows` do."""
    shape = sorted(
        (row.label, [(column.name, column.kind) for column in row.columns]) for row in rows
    )
    return hashlib.blake2b(repr(shape).encode(), digest_size=16).digest()


def writing_order(rows: Iterable[Row]) -> list[Row]:
    """The rows sorted so that what is pointed to comes before what points to it.

    A cycle is cut at a reference that may be NULL, if it has one.
    """
    given = {row.label: row for row in rows}
    graph = {label: _parents(row) & given.keys() - {label} for label, row in given.items()}
    while True:
        try:
            return [given[label] for label in TopologicalSorter(graph).static_order()]
        except CycleError as error:
            parent, child = _weakest(error.args[1], given)
            graph[child].remove(parent)


def _parents(row: Row) -> set[str]:
    return {column.parent for column in row.columns if column.parent}


def _weakest(cycle: list[str], rows: dict[str, Row]) -> tuple[str, str]:
    """The reference of a cycle that matters least: (what is pointed to, what points)."""
    references = list(itertools.pairwise(cycle))
    for parent, child in references:
        if all(c.nullable for c in rows[child].columns if c.parent == parent):
            return parent, child
    return references[0]
