"""Rows that central numbers by itself, with every kind of value that may not be twice."""

from __future__ import annotations

from typing import Any

from django.db import models

from tests.zoo.models import UUIDModel


class Account(UUIDModel):
    """Unique values of one column each, and references to itself."""

    code = models.CharField(max_length=10, unique=True)
    rank = models.IntegerField(unique=True, null=True)
    parent: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", null=True, on_delete=models.CASCADE, related_name="children"
    )
    twin: models.OneToOneField[Any, Any] = models.OneToOneField(
        "self", null=True, on_delete=models.SET_NULL, related_name="twin_of"
    )


class Entry(UUIDModel):
    """Values that are unique together, one of them a reference."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="entries")
    line = models.IntegerField()
    against = models.ForeignKey(
        Account, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="against"
    )
    readers = models.ManyToManyField(Account, related_name="reads")

    class Meta:
        unique_together = [("account", "line")]


class Card(UUIDModel):
    """One to one with an account, and never without one."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, related_name="card")
    number = models.CharField(max_length=10, unique=True)


class Guess(UUIDModel):
    """References that the database does not look at, one of them never NULL."""

    account = models.ForeignKey(
        Account, on_delete=models.DO_NOTHING, db_constraint=False, related_name="guesses"
    )
    entry = models.ForeignKey(
        Entry, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="guesses"
    )
