"""The models of `polls`, which take what is sent."""

from __future__ import annotations

import uuid
from typing import Any

from dj_cqrs.mixins import ReplicaMixin
from django.db import models


class Question(ReplicaMixin):  # type: ignore[misc]
    """What is asked."""

    CQRS_ID = "question"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    text = models.CharField(max_length=200)
    published_at = models.DateTimeField()
    closed = models.BooleanField(default=False)

    class Meta:
        db_table = "polls_question"


class Choice(ReplicaMixin):  # type: ignore[misc]
    """One answer to a question. A reference comes as a key: custom serialization, as documented."""

    CQRS_ID = "choice"
    CQRS_CUSTOM_SERIALIZATION = True

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    question = models.ForeignKey(Question, on_delete=models.CASCADE)
    text = models.CharField(max_length=200)
    votes = models.IntegerField(default=0)

    class Meta:
        db_table = "polls_choice"

    @classmethod
    def cqrs_create(cls, sync: bool, mapped_data: dict[str, Any], **named: Any) -> Any:
        return super().cqrs_create(sync, with_key(mapped_data), **named)

    def cqrs_update(self, sync: bool, mapped_data: dict[str, Any], **named: Any) -> Any:
        return super().cqrs_update(sync, with_key(mapped_data), **named)


def with_key(data: dict[str, Any]) -> dict[str, Any]:
    """The data with its question as Django takes a key."""
    rest = dict(data)
    return {"question_id": rest.pop("question"), **rest}
