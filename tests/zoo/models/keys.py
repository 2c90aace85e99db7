"""What a row is called: integers, texts, dates, references, several columns, two names at once."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models


class UUIDModel(models.Model):
    """The pattern of an integer key at home and a UUID for everybody else."""

    pkid = models.BigAutoField(primary_key=True, editable=False)
    id = models.UUIDField(default=uuid.uuid4, editable=False, unique=True)

    class Meta:
        abstract = True


class Author(UUIDModel):
    name = models.CharField(max_length=50)
    mentor: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="pupils"
    )


class Essay(UUIDModel):
    """References to rows whose integer key means nothing elsewhere."""

    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="essays")
    editor = models.ForeignKey(Author, null=True, on_delete=models.SET_NULL, related_name="edited")
    readers = models.ManyToManyField(Author, related_name="read")


class Comment(models.Model):
    """A UUID key, and a reference by each of the two names of a row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    essay = models.ForeignKey(Essay, on_delete=models.CASCADE)
    author = models.ForeignKey(
        Author, to_field="id", null=True, on_delete=models.CASCADE, related_name="comments"
    )
    text = models.TextField(default="")


class Portrait(models.Model):
    """Its key is a reference to a row with two names."""

    author = models.OneToOneField(Author, primary_key=True, on_delete=models.CASCADE)
    caption = models.CharField(max_length=50)


class Frame(models.Model):
    """A reference to a row whose key is such a reference."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    portrait = models.ForeignKey(Portrait, null=True, on_delete=models.CASCADE)


class Asset(UUIDModel):
    name = models.CharField(max_length=50)


class Machine(Asset):
    """Multi-table inheritance from a row with two names."""

    power = models.IntegerField(default=0)


class Counter(models.Model):
    """Integer keys, as Django makes them: two sites would collide at central."""

    name = models.CharField(max_length=50)
    value = models.IntegerField(default=0)


class Reading(models.Model):
    """An integer key and a reference to one."""

    counter = models.ForeignKey(Counter, on_delete=models.CASCADE, related_name="readings")
    value = models.IntegerField(default=0)


class SmallCounter(models.Model):
    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=50)


class OldCounter(models.Model):
    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=50)


class Parameter(models.Model):
    """A text as the key, which people change."""

    name = models.CharField(max_length=50, primary_key=True)
    value = models.TextField(default="")


class ParameterUse(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    parameter = models.ForeignKey(Parameter, on_delete=models.CASCADE, db_constraint=False)


class Day(models.Model):
    """A date as the key."""

    date = models.DateField(primary_key=True)
    note = models.CharField(max_length=50, default="")


class Rate(models.Model):
    """A decimal as the key."""

    percent = models.DecimalField(max_digits=6, decimal_places=3, primary_key=True)
    note = models.CharField(max_length=50, default="")


class Hall(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)


class Seat(models.Model):
    """A key of a reference and a number."""

    pk = models.CompositePrimaryKey("hall_id", "number")
    hall = models.ForeignKey(Hall, on_delete=models.CASCADE)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)


class Translation(models.Model):
    """A key of two texts and a number."""

    pk = models.CompositePrimaryKey("language", "phrase", "version")
    language = models.CharField(max_length=10)
    phrase = models.CharField(max_length=50)
    version = models.IntegerField()
    text = models.TextField(default="")


class Signature(models.Model):
    """A key of a reference to a row with two names, and a number."""

    pk = models.CompositePrimaryKey("author_id", "number")
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    number = models.IntegerField()
    text = models.CharField(max_length=50, default="")
