"""The serializers of `logpipe`, as a project would have them; imported once Django is set up."""

# Their bases have no types.
# mypy: disallow-subclassing-any=False

from __future__ import annotations

from contextlib import suppress
from typing import Any

from logpipe import JSONRenderer
from rest_framework.serializers import ModelSerializer, Serializer, UUIDField

from polls.models import Choice, Question


def find(model: Any, key: str) -> Any:
    """The row, if it is there."""
    with suppress(model.DoesNotExist):
        return model.objects.get(pk=key)
    return None


class QuestionSerializer(ModelSerializer):
    """A question. By itself, ModelSerializer would leave out a key that is not editable."""

    MESSAGE_TYPE = "question"
    VERSION = 1
    id = UUIDField()

    class Meta:
        model = Question
        fields = ["id", "text", "published_at", "closed"]

    @classmethod
    def lookup_instance(cls, id: str, **_: Any) -> Any:  # noqa: A002
        """What is there already."""
        return find(Question, id)


class ChoiceSerializer(ModelSerializer):
    """A choice."""

    MESSAGE_TYPE = "choice"
    VERSION = 1
    id = UUIDField()

    class Meta:
        model = Choice
        fields = ["id", "question", "text", "votes"]

    @classmethod
    def lookup_instance(cls, id: str, **_: Any) -> Any:  # noqa: A002
        """What is there already."""
        return find(Choice, id)


class DeletedSerializer(Serializer):
    """A choice that is gone."""

    MESSAGE_TYPE = "choice deleted"
    VERSION = 1
    id = UUIDField()

    def save(self, **_: Any) -> None:
        """Delete it."""
        Choice.objects.filter(pk=self.validated_data["id"]).delete()


ALL = (QuestionSerializer, ChoiceSerializer, DeletedSerializer)


class NotedJSON(JSONRenderer):
    """The renderer that logpipe has, which notes each message."""

    def __init__(self, messages: list[bytes]) -> None:
        super().__init__()
        self.messages = messages

    def render(self, data: Any, *args: Any, **kwargs: Any) -> bytes:
        """The body of the message."""
        done: bytes = super().render(data, *args, **kwargs)
        self.messages.append(b"json:" + done)
        return done
