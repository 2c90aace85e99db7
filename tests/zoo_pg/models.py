"""Arrays, ranges and hstore."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import (
    ArrayField,
    BigIntegerRangeField,
    DateRangeField,
    DateTimeRangeField,
    DecimalRangeField,
    HStoreField,
    IntegerRangeField,
)
from django.contrib.postgres.search import SearchVectorField
from django.db import models


class Arrays(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    integers = ArrayField(models.IntegerField(), null=True)
    texts = ArrayField(models.CharField(max_length=50, null=True), null=True)
    decimals = ArrayField(models.DecimalField(max_digits=12, decimal_places=4), null=True)
    floats = ArrayField(models.FloatField(), null=True)
    booleans = ArrayField(models.BooleanField(), null=True)
    uuids = ArrayField(models.UUIDField(), null=True)
    dates = ArrayField(models.DateField(), null=True)
    datetimes = ArrayField(models.DateTimeField(), null=True)
    durations = ArrayField(models.DurationField(), null=True)
    binaries = ArrayField(models.BinaryField(), null=True)
    objects_ = ArrayField(models.JSONField(), null=True, db_column="objects")
    nested = ArrayField(ArrayField(models.IntegerField()), null=True)
    short = ArrayField(models.IntegerField(), size=3, default=list)


class Ranges(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    integers = IntegerRangeField(null=True)
    bigs = BigIntegerRangeField(null=True)
    decimals = DecimalRangeField(null=True)
    dates = DateRangeField(null=True)
    datetimes = DateTimeRangeField(null=True)


class Maps(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    map = HStoreField(null=True)


class Searchable(models.Model):
    """A column of a type that JSON has no form for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    text = models.TextField(default="")
    search = SearchVectorField(null=True)
