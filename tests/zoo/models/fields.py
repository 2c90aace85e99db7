"""Every field type that Django ships for every database, defaults and generated columns."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage
from django.db import models
from django.db.models.functions import Now, Upper


class PictureField(models.ImageField):
    """An ImageField without Pillow: the column holds a name, and the tests open no picture."""

    def _check_image_library_installed(self) -> list[CheckMessage]:
        return []


class WordsField(models.TextField):  # type: ignore[type-arg]
    """A field that somebody wrote: a list in Python, words with commas between in the database."""

    def from_db_value(self, value: str | None, *_: Any) -> list[str] | None:
        return None if value is None else value.split(",")

    def get_prep_value(self, value: Any) -> Any:
        return ",".join(value) if isinstance(value, list) else value


class Everything(models.Model):
    """One nullable column of each type."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    small = models.SmallIntegerField(null=True)
    integer = models.IntegerField(null=True)
    big = models.BigIntegerField(null=True)
    positive_small = models.PositiveSmallIntegerField(null=True)
    positive = models.PositiveIntegerField(null=True)
    positive_big = models.PositiveBigIntegerField(null=True)
    boolean = models.BooleanField(null=True)
    float = models.FloatField(null=True)
    decimal = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    whole_decimal = models.DecimalField(max_digits=12, decimal_places=0, null=True)
    big_decimal = models.DecimalField(max_digits=40, decimal_places=10, null=True)
    char = models.CharField(max_length=200, null=True)
    text = models.TextField(null=True)
    slug = models.SlugField(null=True)
    email = models.EmailField(null=True)
    url = models.URLField(null=True)
    file = models.FileField(upload_to="files", null=True)
    image = PictureField(upload_to="images", null=True)
    path = models.FilePathField(path=".", null=True)
    ip = models.GenericIPAddressField(null=True)
    ip_v4 = models.GenericIPAddressField(protocol="IPv4", null=True)
    unpacked_ip = models.GenericIPAddressField(unpack_ipv4=True, null=True)
    date = models.DateField(null=True)
    time = models.TimeField(null=True)
    datetime = models.DateTimeField(null=True)
    duration = models.DurationField(null=True)
    uuid = models.UUIDField(null=True)
    json = models.JSONField(null=True)
    binary = models.BinaryField(null=True)


class Required(models.Model):
    """The same columns as they mostly are: not nullable, with a default in Python."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100, default="")
    count = models.IntegerField(default=0)
    price = models.DecimalField(max_digits=20, decimal_places=2, default=0)
    active = models.BooleanField(default=True)
    json: models.JSONField[Any, Any] = models.JSONField(default=dict)
    binary = models.BinaryField(default=b"")
    duration = models.DurationField(default=timedelta)
    created = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)
    day = models.DateField(auto_now_add=True)
    moment = models.TimeField(auto_now=True)


class Custom(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    words = WordsField(null=True)


class Line(models.Model):
    """A column of Django's own making, `_order`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    custom = models.ForeignKey(Custom, on_delete=models.CASCADE)

    class Meta:
        order_with_respect_to = "custom"


class Choosy(models.Model):
    """Choices and blanks are Python's matter: the column is a plain one."""

    class Colour(models.TextChoices):
        RED = "r"
        GREEN = "g"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    colour = models.CharField(max_length=1, choices=Colour.choices, default=Colour.RED)


class Defaulted(models.Model):
    """Columns whose default the database gives."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    state = models.CharField(max_length=20, db_default="new")
    count = models.IntegerField(db_default=5)
    ratio = models.FloatField(db_default=0.5)
    active = models.BooleanField(db_default=True)
    made_at = models.DateTimeField(db_default=Now())


class Generated(models.Model):
    """Columns that the database computes: they are not sent, they compute themselves there too."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    price = models.IntegerField()
    quantity = models.IntegerField()
    name = models.CharField(max_length=50, default="")
    total = models.GeneratedField(
        expression=models.F("price") * models.F("quantity"),
        output_field=models.BigIntegerField(),
        db_persist=True,
    )
    shout = models.GeneratedField(
        expression=Upper("name"), output_field=models.CharField(max_length=50), db_persist=True
    )
