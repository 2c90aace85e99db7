"""References of every sort: to itself, one to one, many to many, generic, by another field."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import Permission
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Category(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    parent: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", null=True, on_delete=models.CASCADE, related_name="children"
    )


class Chicken(models.Model):
    """Two tables that point to each other."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    egg = models.ForeignKey("Egg", null=True, on_delete=models.SET_NULL, related_name="hatched")


class Egg(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    chicken = models.ForeignKey(Chicken, null=True, on_delete=models.SET_NULL, related_name="eggs")


class Topping(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, unique=True)


class Pizza(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    toppings = models.ManyToManyField(Topping, related_name="pizzas")


class Person(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    friends = models.ManyToManyField("self")
    follows = models.ManyToManyField("self", symmetrical=False, related_name="followers")


class Team(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)
    members = models.ManyToManyField(Person, through="Membership", related_name="teams")
    fans = models.ManyToManyField(Person, through="Fan", related_name="fan_of")


class Membership(models.Model):
    """A table between two others, with a key and a column of its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    person = models.ForeignKey(Person, on_delete=models.CASCADE)
    team = models.ForeignKey(Team, on_delete=models.CASCADE)
    since = models.DateField(null=True)

    class Meta:
        unique_together = [("person", "team")]


class Fan(models.Model):
    """The same with an integer key."""

    person = models.ForeignKey(Person, on_delete=models.CASCADE)
    team = models.ForeignKey(Team, on_delete=models.CASCADE)
    loud = models.BooleanField(default=False)


class Member(models.Model):
    """An automatic table between rows with integer keys."""

    name = models.CharField(max_length=50)
    others = models.ManyToManyField("self")


class Passport(models.Model):
    """One to one, both with and without a holder."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    holder = models.OneToOneField(Person, null=True, on_delete=models.SET_NULL)
    number = models.CharField(max_length=20, unique=True)


class Profile(models.Model):
    """Its key is a reference."""

    person = models.OneToOneField(Person, primary_key=True, on_delete=models.CASCADE)
    text = models.TextField(default="")


class ProfilePicture(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE)


class Country(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    code = models.CharField(max_length=2, unique=True)


class City(models.Model):
    """A reference by a field that is not the key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    country = models.ForeignKey(Country, to_field="code", on_delete=models.CASCADE)
    twin: models.ForeignKey[Any, Any] = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, db_constraint=False
    )


class Note(models.Model):
    """A note on anything, anything being named by its type and its key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    content_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    object_id = models.UUIDField()
    target = GenericForeignKey("content_type", "object_id")
    text = models.TextField(default="")


class Noted(models.Model):
    """A generic relation's other end: deleting the row deletes its notes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    notes = GenericRelation(Note)


class Label(models.Model):
    """A type that may be absent, and a text as the key of what it points to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    content_type = models.ForeignKey(ContentType, null=True, on_delete=models.SET_NULL)
    object_id = models.CharField(max_length=50, default="")
    types = models.ManyToManyField(ContentType, related_name="labels")


class Grant(models.Model):
    """References to permissions, which have other integer keys at central."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    permission = models.ForeignKey(Permission, on_delete=models.CASCADE)
    also = models.ManyToManyField(Permission, related_name="zoo_grants")
