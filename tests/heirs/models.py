"""References as the other models have none: captured only where a test says so."""

from __future__ import annotations

from typing import Any

from django.db import models

from tests.zoo.models import UUIDModel


class Heir(UUIDModel):
    """Each follows another one, by a reference that cannot be NULL; the first follows itself."""

    follows: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", on_delete=models.CASCADE, related_name="heirs"
    )


class Portrait(UUIDModel):
    """The database does not look whether there is a heir."""

    shows: models.ForeignKey[Any, Any] = models.ForeignKey(
        Heir, on_delete=models.DO_NOTHING, db_constraint=False
    )
