"""Rows that may not be alike: what is swapped inside one transaction is never alike at its end."""

from __future__ import annotations

import uuid

from django.db import models


class Slot(models.Model):
    """A position that two rows may swap."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    position = models.IntegerField(unique=True, null=True)
    name = models.CharField(max_length=50, default="")


class Pairing(models.Model):
    """A pair of columns that is unique together, one of them nullable."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    left = models.IntegerField()
    right = models.IntegerField(null=True)

    class Meta:
        unique_together = [("left", "right")]


class Current(models.Model):
    """A constraint that holds for a part of the rows (MySQL has none such and ignores it)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.IntegerField()
    current = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner"], condition=models.Q(current=True), name="zoo_one_current"
            )
        ]


class Ranked(models.Model):
    """A constraint that PostgreSQL checks at the end of the transaction (others have none)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    rank = models.IntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rank"], deferrable=models.Deferrable.DEFERRED, name="zoo_ranks_at_the_end"
            )
        ]


class Bounded(models.Model):
    """A check of the database's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    low = models.IntegerField(default=0)
    high = models.IntegerField(default=1)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(low__lte=models.F("high")), name="zoo_low_lte_high"
            )
        ]
