"""The sources in people's hands: listed, renamed, disabled, adopted, retired, forgotten."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections, transaction

from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.receiver import status
from sockstream.receiver.applying.applier import Applier, Fenced
from sockstream.receiver.applying.faults import Stopped
from sockstream.receiver.models import HeldRow, Holding, Offset, Owner, Parked, Source, Staged
from sockstream.receiver.patience import patiently
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.wire.errors import WireError
from sockstream.wire.records import BEGIN, END, LOAD, SAVE, Layout
from tests.integration.applier.conftest import parks  # noqa: F401 -- a fixture
from tests.integration.applier.feed import EPOCH, Feed, wire
from tests.integration.applier.parking import take
from tests.zoo.models import Parameter, Slot

SLOT = Layout("zoo.slot", ("id",), ("position", "name"))


def run(using: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command("oplog_source", *arguments, "--database", using, stdout=out)
    return out.getvalue()


def offset(using: str, source: str = "site-a") -> Offset:
    return Offset.objects.using(using).get(source__name=source)


def names(using: str) -> set[str]:
    return set(Source.objects.using(using).values_list("name", flat=True))


@pytest.fixture
def feed(central: str) -> Feed:
    """Slots, and a model with integer keys, that site-a has brought."""
    made = Feed()
    rows = [Slot(name=name) for name in "abc"]
    made.applier(central).apply([made.insert(*rows, Parameter(name="p")).batch()])
    return made


def snapshot(feed: Feed, kept: list[Slot]) -> None:
    """All slots of the site, as they are now."""
    for op in (BEGIN, LOAD):
        feed.raw(op, Layout("zoo.slot", ("id",), ()), [])
    for row in kept:
        feed.raw(SAVE, SLOT, [wire(row, c) for c in _columns()])
    feed.raw(END, Layout("zoo.slot", ("id",), ()), [])


def _columns() -> list[Any]:
    from sockstream.rows import describe

    row = describe(Slot)
    by_name = {column.name: column for column in row.columns}
    return [by_name[name] for name in ("id", "position", "name")]


def test_all_that_hangs_on_a_name_follows_it(central: str, feed: Feed) -> None:
    with pytest.raises(WireError):
        feed.opened(central, "harbour", epoch=EPOCH)
    assert "harbour" in run(central, "rename", "site-a", "harbour")
    assert names(central) == {"harbour"}
    assert feed.opened(central, "harbour", epoch=EPOCH).offset == 4
    for model in (Offset, Holding, Owner):
        found = model._base_manager.using(central).values_list("source__name", flat=True)
        assert set(found) == {"harbour"}, model
    rows = list(Slot.objects.using(central).order_by("name"))
    applier = feed.applier(central, "harbour", epoch=EPOCH)
    snapshot(feed, rows[1:])
    applier.apply([feed.batch()])
    assert list(Slot.objects.using(central).order_by("name")) == rows[1:]


def test_a_stream_follows_its_alias(central: str, feed: Feed) -> None:
    with pytest.raises(WireError):
        feed.opened(central, stream="main", epoch=EPOCH)
    run(central, "rename", "site-a/default", "site-a/main")
    assert feed.opened(central, stream="main", epoch=EPOCH).offset == 4
    for model in (Offset, Holding, Owner):
        found = model._base_manager.using(central).values_list("stream", flat=True)
        assert set(found) == {"main"}, model


def test_a_stream_moves_to_another_source(central: str, feed: Feed) -> None:
    run(central, "rename", "site-a/default", "harbour/main")
    assert feed.opened(central, "harbour", stream="main", epoch=EPOCH).offset == 4
    assert names(central) == {"site-a", "harbour"}


def test_parked_records_follow(central: str, parks: None) -> None:  # noqa: F811
    take(central, 1)
    feed = Feed()
    feed.applier(central).apply([feed.insert(Slot(position=1)).batch()])
    run(central, "rename", "site-a", "harbour")
    row = Parked.objects.using(central).get()
    assert (row.source.name, offset(central, "harbour").parked) == ("harbour", 1)


def test_who_sends_under_the_old_name_is_shut_out(central: str, feed: Feed) -> None:
    applier = feed.applier(central)
    run(central, "rename", "site-a", "harbour")
    with pytest.raises(Fenced):
        applier.apply([feed.insert(Slot(name="late")).batch()])


@pytest.mark.parametrize(
    ("old", "new"),
    [("site-a", "site-b"), ("site-a/default", "site-b/default"), ("site-a", "site-a")],
)
def test_a_name_with_a_history_of_its_own_is_kept(
    old: str, new: str, central: str, feed: Feed
) -> None:
    other = Feed()
    other.applier(central, "site-b").apply([other.insert(Slot(name="b")).batch()])
    with pytest.raises(CommandError):
        run(central, "rename", old, new)
    assert (offset(central).seq, offset(central, "site-b").seq) == (4, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rename", "nobody", "somebody"),
        ("rename", "site-a", "site-b/default"),
        ("rename", "site-a/other", "site-b/other"),
        ("disable", "nobody"),
        ("disable", "site-a/default"),
        ("retire", "nobody"),
        ("adopt", "nobody"),
        ("adopt", "site-a/other"),
        ("forget", "nobody", "--yes"),
        ("forget", "site-a"),
    ],
)
def test_what_is_not_there_is_told(arguments: tuple[str, ...], central: str, feed: Feed) -> None:
    """And without a terminal, nothing is destroyed that nobody said yes to."""
    before = offset(central)
    with pytest.raises(CommandError) as told:
        run(central, *arguments)
    assert "Traceback" not in str(told.value)
    assert offset(central).fence == before.fence
    assert names(central) == {"site-a"}


def test_a_disabled_source_is_refused_until_it_is_enabled(central: str, feed: Feed) -> None:
    run(central, "disable", "site-a")
    assert status.report(central)[0]["state"] == "disabled"
    with pytest.raises(WireError) as refused:
        feed.opened(central)
    assert "manage.py oplog_source enable site-a" in refused.value.mend
    run(central, "enable", "site-a")
    assert feed.opened(central).offset == 4


def test_a_retired_source_alarms_nobody(central: str, feed: Feed) -> None:
    Offset.objects.using(central).update(error_code="gap", error="x", state="stopped")
    run(central, "retire", "site-a")
    (row,) = status.report(central)
    assert (row["state"], row["error_code"], row["certificate_warning"]) == ("retired", "", "")
    assert Slot.objects.using(central).count() == 3
    with pytest.raises(WireError) as refused:
        feed.opened(central)
    assert (refused.value.code, "retired" in refused.value.words) == ("source-disabled", True)
    run(central, "enable", "site-a")
    assert feed.opened(central).offset == 4


def test_a_source_is_adopted_by_its_one_stream(central: str, feed: Feed) -> None:
    assert "site-a/default stood at" in run(central, "adopt", "site-a")
    assert Feed().opened(central, epoch=b"n" * 16).offset == 0
    Feed().opened(central, stream="other")
    with pytest.raises(CommandError, match="site-a/default, site-a/other"):
        run(central, "adopt", "site-a")
    run(central, "adopt", "site-a/other")


def test_central_s_own_rows_are_handed_over(central: str, feed: Feed) -> None:
    """By what the line of the stop says, once; another site's rows are not."""
    own = Slot.objects.using(central).create(name="own")
    mine = Feed()
    mine.insert(Slot(id=own.id, name="of site-b"))
    with pytest.raises(Stopped) as stopped:
        mine.applier(central, "site-b").apply([mine.batch()])
    command = stopped.value.error.mend.partition("manage.py oplog_source ")[2]
    assert "site-b takes over central's own rows of zoo.slot" in run(central, *command.split())
    mine.applier(central, "site-b").apply(mine.sent)
    assert Slot.objects.using(central).get(id=own.id).name == "of site-b"
    with pytest.raises(CommandError, match=r"does not take records of zoo\.nothing"):
        run(central, "adopt", "site-b", "zoo.slot", "zoo.nothing")


def test_what_is_staged_goes_with_the_position(central: str, feed: Feed) -> None:
    """The same history may come again from its first record."""
    applier = feed.applier(central)
    applier.apply([feed.insert(Slot(name="half")).batch(open=True)])
    assert Staged.objects.using(central).count() == 1
    run(central, "adopt", "site-a")
    opened = feed.opened(central)
    assert (opened.offset, opened.staged_seq) == (0, 0)
    assert not Staged.objects.using(central).exists()
    again = Applier("site-a", "default", opened.fence, using=central)
    again.apply(feed.sent)
    assert again.apply([feed.insert(Slot(name="rest")).batch()]).offset == feed.seq


def test_what_is_staged_follows_the_name_or_is_forgotten(central: str, feed: Feed) -> None:
    applier = feed.applier(central)
    applier.apply([feed.insert(Slot(name="half")).batch(open=True)])
    run(central, "rename", "site-a", "harbour")
    assert feed.opened(central, "harbour", epoch=EPOCH).staged_seq == feed.seq
    run(central, "forget", "harbour", "--yes")
    assert not Staged.objects.using(central).exists()


def test_what_is_forgotten(central: str, feed: Feed) -> None:
    other = Feed()
    other.applier(central, "site-b").apply([other.insert(Slot(name="b")).batch()])
    said = run(central, "forget", "site-a", "--yes")
    assert "1 Offset" in said
    assert names(central) == {"site-b"}
    assert Slot.objects.using(central).count() == 4
    assert {row.source.name for row in Holding.objects.using(central).all()} == {"site-b"}
    assert HeldRow.objects.using(central).count() == 1
    assert not Owner.objects.using(central).exists()
    assert Feed().opened(central).offset == 0


def test_one_stream_is_forgotten(central: str, feed: Feed) -> None:
    Feed().opened(central, stream="other")
    run(central, "forget", "site-a/other", "--yes")
    assert offset(central).stream == "default"


def test_the_list(central: str, feed: Feed) -> None:
    run(central, "disable", "site-a")
    (row,) = json.loads(run(central, "list", "--json"))
    assert (row["source"], row["state"], row["retired_at"]) == ("site-a", "disabled", None)
    (stream,) = row["streams"]
    assert (stream["stream"], stream["seq"], stream["parked"]) == ("default", 4, 0)
    assert stream["epoch"] == EPOCH.hex()[:8]
    table = run(central, "list")
    assert "site-a" in table
    assert "disabled" in table
    assert "No source yet" in run(central, "forget", "site-a", "--yes") + run(central, "list")


def test_a_command_waits_for_a_transaction(central: str, feed: Feed) -> None:
    """The row, or on SQLite the database, is held by an applier that is at work."""
    held, done = threading.Event(), threading.Event()

    def apply() -> None:
        with transaction.atomic(using=central):
            Offset.objects.using(central).update(seq=4)
            held.set()
            done.wait(20)
        connections[central].close()

    worker = threading.Thread(target=apply)
    worker.start()
    assert held.wait(20)
    told: list[str] = []

    def tell(words: str) -> None:
        told.append(words)
        done.set()

    try:
        name = Name("site-a")
        _, before = patiently(lambda: registry.adopt(name, using=central), central, tell)
    finally:
        done.set()
        worker.join()
    assert before.seq == 4
    # PostgreSQL waits by itself for LOCK_WAIT, and has the row before that is over.
    assert len(told) <= 1


def test_a_command_does_not_wait_for_ever(central: str, feed: Feed) -> None:
    def locked() -> None:
        with connections[central].cursor() as cursor:
            if connections[central].vendor == "sqlite":
                cursor.execute("SELECT * FROM sockstream_receiver_source")
            raise _locked(central)

    with pytest.raises(SockstreamError) as told:
        patiently(locked, central, lambda _: None, patience=0.05)
    assert told.value.code == "lock-wait"
    assert not isinstance(told.value, ConfigError)


def _locked(using: str) -> Exception:
    import sqlite3

    from django.db import OperationalError

    if connections[using].vendor == "sqlite":
        cause: Any = sqlite3.OperationalError("database is locked")
        cause.sqlite_errorcode = 5
    else:
        import psycopg

        cause = psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error
