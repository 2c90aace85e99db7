"""The models `Thing0`, `Thing1` ...: made at import, so that each process has the same."""

from __future__ import annotations

import uuid

from django.db import models

from benchmarks.many import COUNT


class Thing(models.Model):
    """What each of them is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.TextField()
    number = models.IntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        abstract = True


THINGS: list[type[Thing]] = [
    type(f"Thing{number}", (Thing,), {"__module__": __name__}) for number in range(COUNT)
]
