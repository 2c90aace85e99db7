"""Questions, their choices and tags. A UUID key is the same at the site and at central."""

from __future__ import annotations

import uuid

from django.db import models


class Tag(models.Model):
    """A word that several questions share."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.name


class Question(models.Model):
    """What is asked."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    text = models.CharField(max_length=200)
    published_at = models.DateTimeField()
    closed = models.BooleanField(default=False)
    tags = models.ManyToManyField(Tag, related_name="questions", blank=True)

    def __str__(self) -> str:
        return self.text


class Choice(models.Model):
    """One answer to a question, and how many chose it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    question = models.ForeignKey(Question, on_delete=models.CASCADE, related_name="choices")
    text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.text
