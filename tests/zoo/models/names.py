"""Tables and columns with names that have to be quoted.

Double quotes and backticks are left out: Django itself does not escape them.
"""

from __future__ import annotations

import uuid

import django
from django.db import models

# Before 6.1, Django does not select such a column on PostgreSQL: a ValueError of its own.
COST = "$cost" if django.VERSION >= (6, 1) else "cost"


class Odd(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, db_column="ID")
    select = models.CharField(max_length=50, db_column="select", default="")
    camel = models.CharField(max_length=50, db_column="camelCase", default="")
    spaced = models.CharField(max_length=50, db_column="two words", default="")
    quoted = models.CharField(max_length=50, db_column="it's", default="")
    dotted = models.CharField(max_length=50, db_column="a.b", default="")
    dollar = models.CharField(max_length=50, db_column=COST, default="")
    accented = models.CharField(max_length=50, db_column="größe", default="")
    new = models.CharField(max_length=50, db_column="NEW", default="")
    backslash = models.CharField(max_length=50, db_column="back\\slash", default="")
    friends = models.ManyToManyField("self", db_table="Friends of 'Odd'")

    class Meta:
        db_table = "Order Details"


class Order(models.Model):
    """A reserved word as the table's name, and one as a reference's column."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    group = models.ForeignKey(Odd, null=True, on_delete=models.CASCADE, db_column="group")
    values = models.IntegerField(default=0, db_column="values")

    class Meta:
        db_table = "order"


class LongName(models.Model):
    """The longest name that MySQL takes, one more than PostgreSQL's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    value = models.IntegerField(default=0, db_column="c" * 60)

    class Meta:
        db_table = "t" * 60
