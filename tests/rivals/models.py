"""Rows that want each other's unique values, under keys of every kind; and what points to them.

Captured only where a test says so.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models.functions import Lower

from tests.zoo.models import UUIDModel


class Runner(UUIDModel):
    """Numbered by central. Two single values, a pair, and a partner of whom there is one."""

    bib = models.IntegerField(unique=True)
    title = models.CharField(max_length=50, unique=True)
    lane = models.IntegerField(default=0)
    heat = models.IntegerField(null=True)
    partner: models.OneToOneField[Any, Any] = models.OneToOneField(
        "self", on_delete=models.CASCADE, null=True
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lane", "heat"], name="rivals_one_runner_a_lane")
        ]


class Supporter(models.Model):
    """Points to runners by both kinds of foreign keys."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    runner: models.ForeignKey[Any, Any] = models.ForeignKey(
        Runner, on_delete=models.CASCADE, related_name="supporters"
    )
    loose: models.ForeignKey[Any, Any] = models.ForeignKey(
        Runner, on_delete=models.CASCADE, db_constraint=False, related_name="+"
    )


class Coach(models.Model):
    """One a runner, and a unique reference is part of a pair as well."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    runner: models.OneToOneField[Any, Any] = models.OneToOneField(Runner, on_delete=models.CASCADE)
    boss: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True
    )
    rank = models.IntegerField(default=0)

    class Meta:
        unique_together = [("boss", "rank")]


class Locker(models.Model):
    """An integer key that the site gives."""

    code = models.CharField(max_length=20, unique=True)


class Flag(models.Model):
    """A text as the key."""

    country = models.CharField(max_length=20, primary_key=True)
    place = models.IntegerField(unique=True)


class Tile(models.Model):
    """A key of a reference and a number."""

    pk = models.CompositePrimaryKey("runner_id", "number")
    runner: models.ForeignKey[Any, Any] = models.ForeignKey(Runner, on_delete=models.CASCADE)
    number = models.IntegerField()
    colour = models.CharField(max_length=20, unique=True)


class Nick(models.Model):
    """What is not looked for: an expression."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="rivals_one_nick")]


class Souvenir(models.Model):
    """Never sent: a table of central's own that points to runners."""

    runner: models.ForeignKey[Any, Any] = models.ForeignKey(Runner, on_delete=models.PROTECT)
