"""A table of 150 columns, which is more than some versions of SQLite give a function."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models

COLUMNS = 150


def _column(number: int) -> models.Field[Any, Any]:
    kinds = (
        models.IntegerField(null=True),
        models.CharField(max_length=30, null=True),
        models.DecimalField(max_digits=10, decimal_places=2, null=True),
        models.DateTimeField(null=True),
        models.BinaryField(null=True),
    )
    return kinds[number % len(kinds)]


class Wide(models.Model):
    """The key and 149 columns, `c001` to `c149`, of five types in turn."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)


for _number in range(1, COLUMNS):
    Wide.add_to_class(f"c{_number:03}", _column(_number))
