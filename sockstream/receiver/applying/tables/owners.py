"""Who may write a model whose keys mean nothing elsewhere: the first stream that did."""

from __future__ import annotations

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.models import Owner, Source

from .memory import Memory


class Owners:
    """The claims of one stream."""

    def __init__(self, source: str, stream: str, using: str, memory: Memory) -> None:
        self._source = source
        self._stream = stream
        self._using = using
        self._memory = memory

    def claim(self, plan: Plan) -> None:
        """Note, in the caller's transaction, that the stream writes the plan's model.

        Raises Refusal with `key-collision` if another stream does.
        """
        if plan.row.is_global or plan.label in self._memory.owned:
            return
        source = Source.objects.using(self._using).get(name=self._source)
        owner, _ = (
            Owner.objects.using(self._using)
            .select_related("source")
            .get_or_create(model=plan.label, defaults={"source": source, "stream": self._stream})
        )
        if (owner.source.name, owner.stream) != (self._source, self._stream):
            raise Refusal(
                "key-collision",
                f"{plan.label} has keys that two sites can both give, and "
                f"{owner.source.name}/{owner.stream} writes it already",
                "Give the model a UUID key, or let one site only send it",
            )
        self._memory.owned.add(plan.label)
