"""Which fields point from one model to another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models, router


def pointing_by_number(model: type[models.Model], using: str) -> Iterator[Any]:
    """The fields that hold a primary key of the model: also those that do because they point to a
    row whose primary key is such a field."""
    for f in references(model):
        if points_by_number(f, model, using):
            yield f
            if f.primary_key:
                yield from pointing_by_number(f.model, using)


def points_by_number(f: Any, model: type[models.Model], using: str) -> bool:
    """Whether the field holds a primary key of the model, in a table of this database."""
    by_number: bool = f.target_field.primary_key and f.target_field.model is model
    return by_number and router.allow_migrate_model(using, f.model)


def foreign_keys(model: type[models.Model]) -> Iterator[Any]:
    """The fields behind the foreign keys of the model's table, and of those that point to it."""
    return (f for f in references(model) if f.db_constraint)


def references(model: type[models.Model]) -> Iterator[Any]:
    """The fields of the model that point to another one, and those that point to it."""
    relations: list[Any] = list(model._meta.get_fields(include_hidden=True))
    for f in [f if f.concrete else getattr(f, "field", None) for f in relations]:
        if isinstance(f, models.ForeignKey) and f.model._meta.managed:
            yield f
