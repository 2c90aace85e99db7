"""What a project captures that is a central and a site in one. Prints what it has looked at."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import django
from django.core.management import call_command
from django.db import connection, transaction


def main() -> None:
    """Raises AssertionError if something is captured, or is not, against FORWARD."""
    django.setup()
    call_command("migrate", verbosity=0)
    from sockstream.conf import settings

    forwards = settings().FORWARD
    for look in (
        _applied,
        _own_between,
        _refused,
        _replaced,
        _own_after_an_error,
        _triggers_of_ours,
    ):
        look(forwards)
        sys.stdout.write(f"{look.__name__}\n")
    from sockstream.sender import capture

    assert capture.drift("default") == []


def _question(text: str) -> Any:
    from polls.models import Question

    return Question(text=text, published_at=datetime(2026, 1, 1, tzinfo=UTC))


def _captured() -> list[str]:
    from tests.integration.capture.replay import take

    return [record.op for record in take("default")]


def _applied(forwards: bool) -> None:
    """Inserts, updates, deletes and relations that a stream brings."""
    from polls.models import Choice, Tag
    from tests.integration.applier.feed import Feed

    feed, question = Feed(), _question("of a site")
    choice, tag = Choice(question=question, text="x"), Tag(name="t")
    applier = feed.applier("default", "mixed")
    applier.apply([feed.insert(question, choice, tag).batch()])
    choice.text, tag.name = "y", "u"
    feed.update(choice, tag).delete(choice)
    applier.apply([feed.batch()])
    assert Tag.objects.get().name == "u"
    assert not Choice.objects.exists()
    found = _captured()
    assert sorted(found) == (["D", "I", "I", "I", "U"] if forwards else []), found


def _own_between(forwards: bool) -> None:
    """The same connection writes for the project, in the transaction of a stream and after it."""
    from polls.models import Tag
    from sockstream.receiver.applying.tables.origin import of_a_stream
    from tests.integration.applier.feed import Feed

    with transaction.atomic():
        Tag.objects.create(name="before")
        with of_a_stream("default") as cursor:
            cursor.execute("UPDATE polls_tag SET name = 'changed' WHERE name = 'u'")
        Tag.objects.create(name="after")
    assert _captured() == (["I", "U", "I"] if forwards else ["I", "I"])
    feed = Feed()
    feed.applier("default", "second").apply([feed.insert(_question("more")).batch()])
    Tag.objects.filter(name="before").update(name="own")
    assert _captured() == (["I", "U"] if forwards else ["U"])


def _refused(forwards: bool) -> None:
    """Records that the database refuses, in any number of attempts, leave capture as it was."""
    from polls.models import Tag
    from sockstream.receiver.applying.applier import Stopped
    from tests.integration.applier.feed import Feed

    feed = Feed().insert(Tag(name="fine")).end().insert(Tag(name="own"))
    try:
        feed.applier("default", "third").apply([feed.batch()])
    except Stopped:
        pass
    else:
        raise AssertionError("the unique value was taken twice")
    assert _captured() == (["I"] if forwards else [])
    Tag.objects.create(name="by hand")
    assert _captured() == ["I"]


def _replaced(forwards: bool) -> None:
    """A write of the project's own that takes rows away which a stream brought."""
    from polls.models import Tag

    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT OR REPLACE INTO polls_tag (id, name) VALUES (%s, 'fine')", ["f" * 32]
        )
    assert Tag.objects.filter(name="fine").count() == 1
    assert _captured() == ["D", "I"]


def _own_after_an_error(forwards: bool) -> None:
    """An exception within a stream's writes: the rollback, or we, make capture look again."""
    from polls.models import Tag
    from sockstream.receiver.applying.tables.origin import of_a_stream

    class Broken(Exception):
        pass

    try:
        with transaction.atomic(), of_a_stream("default") as cursor:
            cursor.execute("UPDATE polls_tag SET name = 'gone' WHERE name = 'own'")
            raise Broken
    except Broken:
        pass
    assert _captured() == []
    with transaction.atomic():
        Tag.objects.create(name="in one")
        try:
            with transaction.atomic(), of_a_stream("default"):
                raise Broken
        except Broken:
            pass
        Tag.objects.create(name="in two")
    assert _captured() == ["I", "I"]


def _triggers_of_ours(forwards: bool) -> None:
    """They are no reason to write rows in another way; somebody else's are."""
    from sockstream.receiver.dialects import dialect

    with connection.cursor() as cursor:
        assert dialect("default").can_come_again(cursor, "polls_tag", {"id", "name"})
        if connection.vendor == "sqlite":
            cursor.execute("CREATE TRIGGER theirs AFTER DELETE ON polls_tag BEGIN SELECT 1; END")
            assert not dialect("default").can_come_again(cursor, "polls_tag", {"id", "name"})


if __name__ == "__main__":
    main()
