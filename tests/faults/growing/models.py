"""One model, in either version."""

from __future__ import annotations

import os
import uuid

from django.db import models


class Plant(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    if "GROWN" in os.environ:
        height = models.IntegerField(default=0)
