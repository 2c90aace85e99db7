"""The models of `polls`, which send what is saved."""

from __future__ import annotations

import uuid

from dj_cqrs.mixins import MasterMixin
from django.db import models


class Question(MasterMixin):  # type: ignore[misc]
    """What is asked."""

    CQRS_ID = "question"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    text = models.CharField(max_length=200)
    published_at = models.DateTimeField()
    closed = models.BooleanField(default=False)

    class Meta:
        db_table = "polls_question"


class Choice(MasterMixin):  # type: ignore[misc]
    """One answer to a question, and how many chose it."""

    CQRS_ID = "choice"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    question = models.ForeignKey(Question, on_delete=models.CASCADE)
    text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)

    class Meta:
        db_table = "polls_choice"
