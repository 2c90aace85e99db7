"""A table made by SQL of its own, with a cascade and a default that Django knows nothing of."""

from __future__ import annotations

import uuid

from django.db import models


class Hive(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, default="")


class Bee(models.Model):
    """`ON DELETE CASCADE ON UPDATE CASCADE` in the database; DO_NOTHING for Django."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    hive = models.ForeignKey(Hive, on_delete=models.DO_NOTHING, related_name="bees")
    name = models.CharField(max_length=50)
