"""What happens to a row when the row that it points to goes."""

from __future__ import annotations

import uuid

from django.db import models


class Tree(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, default="")


class Branch(models.Model):
    """Django deletes these with their tree, and the leaves with them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tree = models.ForeignKey(Tree, on_delete=models.CASCADE, related_name="branches")


class Leaf(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    branch = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="leaves")


class Bird(models.Model):
    """Each other thing that Django can do."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    sits_on = models.ForeignKey(Tree, null=True, on_delete=models.SET_NULL, related_name="birds")
    nest = models.ForeignKey(Tree, null=True, on_delete=models.PROTECT, related_name="nests")


if hasattr(models, "DB_CASCADE"):  # Django 6.1

    class Root(models.Model):
        """The database deletes these: Django does not look."""

        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        tree = models.ForeignKey(Tree, on_delete=models.DB_CASCADE, related_name="roots")

    class Fruit(models.Model):
        id = models.UUIDField(primary_key=True, default=uuid.uuid4)
        tree = models.ForeignKey(
            Tree, null=True, on_delete=models.DB_SET_NULL, related_name="fruits"
        )
