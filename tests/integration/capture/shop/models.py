"""The models as the last migration leaves them."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone


class Maker(models.Model):
    pkid = models.BigAutoField(primary_key=True)
    id = models.UUIDField(default=uuid.uuid4, unique=True)
    name = models.CharField(max_length=50)


class Product(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=80)
    maker = models.ForeignKey(Maker, null=True, on_delete=models.CASCADE)
    stock = models.IntegerField(default=5)
    stamp = models.DateTimeField(default=timezone.now)
    note = models.CharField(max_length=20, null=True)


class Extra(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    product = models.ForeignKey(Product, on_delete=models.CASCADE)
    weight = models.IntegerField(default=1)
