"""Rows whose first one could only refer to itself, which nobody can send: captured nowhere."""

from __future__ import annotations

from typing import Any

from django.db import models

from tests.zoo.models import UUIDModel


class Heir(UUIDModel):
    """Each follows another one, by a reference that cannot be NULL; the first follows itself."""

    follows: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", on_delete=models.CASCADE, related_name="heirs"
    )
