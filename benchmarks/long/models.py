"""Rows of many types, with values that are unique and move, and a key that changes."""

from __future__ import annotations

import uuid

from django.db import models


class Order(models.Model):
    """What lines belong to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    number = models.IntegerField(unique=True)


class Line(models.Model):
    """Sixteen columns."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    order = models.ForeignKey(Order, on_delete=models.CASCADE)
    slot = models.IntegerField()
    name = models.CharField(max_length=100)
    text = models.TextField()
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    weight = models.FloatField()
    count = models.IntegerField(default=0)
    total = models.BigIntegerField()
    open = models.BooleanField(default=True)
    day = models.DateField()
    at = models.DateTimeField()
    clock = models.TimeField()
    took = models.DurationField()
    data = models.JSONField()
    blob = models.BinaryField()

    class Meta:
        unique_together = [("order", "slot")]


class Article(models.Model):
    """A text as its key, which people change."""

    code = models.CharField(max_length=40, primary_key=True)
    name = models.CharField(max_length=100)
