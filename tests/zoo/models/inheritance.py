"""Proxies, abstract bases and multi-table inheritance."""

from __future__ import annotations

import uuid

from django.db import models


class Stamped(models.Model):
    """An abstract base: its columns are in the tables of its children."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Cat(Stamped):
    name = models.CharField(max_length=50)


class LoudCat(Cat):
    """A proxy: a table of its own it has not."""

    class Meta:
        proxy = True


class LouderCat(LoudCat):
    """A proxy of a proxy."""

    class Meta:
        proxy = True


class Place(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50)


class Restaurant(Place):
    stars = models.IntegerField(default=0)


class Pizzeria(Restaurant):
    """Three tables deep."""

    oven = models.CharField(max_length=50, default="wood")


class Supplier(Place):
    """A parent link by another name, and a reference to its parent's sibling."""

    place = models.OneToOneField(
        Place,
        on_delete=models.CASCADE,
        parent_link=True,
        primary_key=True,
        related_name="supplier_of",
    )
    customers = models.ManyToManyField(Restaurant, related_name="suppliers")


class Vehicle(models.Model):
    """A parent with an integer key."""

    wheels = models.IntegerField(default=4)


class Car(Vehicle):
    doors = models.IntegerField(default=5)


class Article(models.Model):
    article_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    headline = models.CharField(max_length=50)


class Book(models.Model):
    book_id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    title = models.CharField(max_length=50)


class BookReview(Book, Article):
    """Two parents, each with a table."""

    verdict = models.CharField(max_length=50, default="")
