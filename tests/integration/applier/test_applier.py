"""Batches into tables: order, offsets, exactly once."""

from __future__ import annotations

from datetime import UTC, datetime

from polls.models import Choice, Question
from sockstream.receiver.models import Offset
from tests.integration.applier.feed import Feed

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def question(text: str = "why?") -> Question:
    return Question(text=text, published_at=NOW)


def test_rows_and_offset_move_together(central: str) -> None:
    feed = Feed()
    why = question()
    choices = [Choice(question=why, text=f"answer {number}") for number in range(3)]
    batch = feed.insert(why, *choices).batch()
    applied = feed.applier(central).apply([batch])
    assert (applied.offset, applied.digest, applied.records) == (4, batch.digest_after, 4)
    assert not applied.staged
    assert Question.objects.using(central).get() == why
    assert Choice.objects.using(central).count() == 3
    row = Offset.objects.using(central).get()
    assert (row.seq, bytes(row.digest), row.records_applied) == (4, batch.digest_after, 4)


def test_update_and_delete(central: str) -> None:
    feed = Feed()
    why, how = question(), question("how?")
    applier = feed.applier(central)
    applier.apply([feed.insert(why, how).batch()])
    why.text = "why not?"
    why.closed = True
    applier.apply([feed.update(why).delete(how).batch()])
    found = Question.objects.using(central).get()
    assert (found.id, found.text, found.closed) == (why.id, "why not?", True)
    assert found.published_at == NOW
    row = Offset.objects.using(central).get()
    assert (row.inserts_met, row.updates_missed, row.deletes_missed) == (0, 0, 0)
