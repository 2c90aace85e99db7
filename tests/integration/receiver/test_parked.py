"""The parked records in people's hands: shown, tried again, dropped."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections, transaction
from django.test import override_settings

from sockstream.exceptions import SockstreamError
from sockstream.receiver import parked, status
from sockstream.receiver.applying import applier as applying
from sockstream.receiver.applying import progress
from sockstream.receiver.applying.applier import Retry
from sockstream.receiver.models import Offset, Parked
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import INSERT, Layout
from tests.conftest import on_centrals
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import misfit
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import connected, slot, slots
from tests.unit.trust import Trust
from tests.zoo.models import Branch, Category, Counter, Leaf, Slot, Tree

# MariaDB's way looks first whose row is there, and stops for that before the value is refused.
finds_late = on_centrals("central_sqlite", "central_pg")

PARK = {"MODELS": ["polls", "zoo"], "ON_ERROR": "park"}


@pytest.fixture(autouse=True)
def parks() -> Iterator[None]:
    with override_settings(SOCKSTREAM=PARK):
        yield


def offset(using: str, source: str = "site-a") -> Offset:
    return Offset.objects.using(using).get(source__name=source)


def ids(using: str) -> dict[int, int]:
    """The ids of what is parked, by number."""
    return dict(Parked.objects.using(using).values_list("seq", "pk"))


def run(using: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command("oplog_parked", *arguments, "--database", using, stdout=out)
    return out.getvalue()


def park_a_family(using: str) -> tuple[Slot, Feed]:
    """1 and 2: a slot that is taken, and its update; 3: a category without its parent; 4: its
    child."""
    taken = Slot.objects.using(using).create(position=7)
    bad = Slot(position=7, name="first")
    orphan = Category(name="orphan", parent=Category(id=uuid.UUID(int=1), name="unsent"))
    feed = Feed().insert(bad).end()
    bad.name = "second"
    feed.update(bad).insert(orphan, Category(name="child", parent=orphan))
    feed.applier(using).apply([feed.batch()])
    assert sorted(ids(using)) == [1, 3, 4]
    return taken, feed


def test_retry_applies_what_has_been_mended_and_keeps_the_rest(central: str) -> None:
    taken, feed = park_a_family(central)
    outcome = parked.retry(central)
    assert (outcome.applied, [row.seq for row in outcome.parked]) == (0, [1, 3, 4])
    assert offset(central).parked == 3
    taken.delete()
    outcome = parked.retry(central)
    assert (outcome.applied, [row.seq for row in outcome.parked]) == (1, [3, 4])
    assert Slot.objects.using(central).get().name == "second"
    at = offset(central)
    assert (at.parked, at.records_applied, at.seq, at.updates_missed) == (2, 2, 4, 0)
    rows = Parked.objects.using(central).order_by("seq")
    assert [(row.cause, row.behind, row.code) for row in rows] == [
        ("fault", 0, "missing-reference"),
        ("reference", 3, "behind-parked"),
    ]
    assert all(row.retried_at for row in rows)
    Category.objects.using(central).create(id=uuid.UUID(int=1), name="given")
    assert parked.retry(central).applied == 2
    assert offset(central).parked == 0
    assert Category.objects.using(central).count() == 3
    assert feed.applier(central).apply([feed.insert(Tree()).batch()]).offset == 5


def test_retry_of_one_takes_what_waits_behind_it(central: str) -> None:
    park_a_family(central)
    Category.objects.using(central).create(id=uuid.UUID(int=1), name="given")
    assert parked.retry(central, [ids(central)[3]]).applied == 2
    assert sorted(ids(central)) == [1]


def test_retry_of_one_that_waits_for_another_leaves_it_parked(central: str) -> None:
    park_a_family(central)
    Category.objects.using(central).create(id=uuid.UUID(int=1), name="given")
    outcome = parked.retry(central, [ids(central)[4]])
    assert (outcome.applied, [row.seq for row in outcome.parked]) == (0, [4])
    assert sorted(ids(central)) == [1, 3, 4]


def test_a_running_applier_notices_what_was_retried_or_dropped(central: str) -> None:
    taken = Slot.objects.using(central).create(position=7)
    bad, worse = Slot(position=7), Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad).end().insert(worse).batch()])
    taken.delete()
    parked.retry(central, [ids(central)[1]])
    parked.drop(central, [ids(central)[2]])
    bad.name = worse.name = "later"
    worse.position = 8
    applier.apply([feed.update(bad, worse).batch()])
    assert ids(central) == {}
    assert Slot.objects.using(central).filter(name="later").count() == 2
    assert (offset(central).updates_missed, offset(central).parked) == (1, 0)


class Lost(Exception):
    """What ends a transaction."""


def test_an_applier_whose_transaction_failed_is_not_mistaken(central: str) -> None:
    """It has parked in memory what the rollback took back, and then the counter moves on."""
    taken = Slot.objects.using(central).create(position=7)
    one, two = Slot(position=7), Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(one).batch()])
    first = feed.insert(two).batch()
    with mock.patch.object(applying, "move", side_effect=Lost), pytest.raises(Lost):
        applier.apply([first])
    parked.drop(central, [ids(central)[1]])
    taken.delete()
    rest = feed.update(two).insert(Tree()).batch()
    applier.apply([first, rest])
    assert ids(central) == {}
    assert Slot.objects.using(central).get().id == two.id


def test_drop_names_those_behind(central: str) -> None:
    park_a_family(central)
    known = ids(central)
    with pytest.raises(SockstreamError, match=f"1 parked records wait behind these: {known[4]}"):
        parked.drop(central, [known[1], known[3]])
    assert len(ids(central)) == offset(central).parked == 3
    assert parked.drop(central, [known[3], known[4]]) == 2
    assert sorted(ids(central)) == [1]
    assert offset(central).parked == 1


def test_a_dropped_insert_comes_back_with_the_next_update(central: str) -> None:
    taken, feed = park_a_family(central)
    parked.drop(central, list(ids(central).values()))
    taken.delete()
    row = feed.sent[0]
    assert row.last_seq == 4
    again = Slot(position=9, name="third")
    feed.update(again)
    feed.applier(central).apply([feed.batch()])
    assert Slot.objects.using(central).get().name == "third"
    assert ids(central) == {}


def test_records_of_an_earlier_epoch_hold_nobody_up_and_are_not_applied(central: str) -> None:
    park_a_family(central)
    Offset.objects.using(central).update(epoch=b"n" * 16, seq=0, digest=bytes(16))
    with pytest.raises(SockstreamError, match="earlier epoch"):
        parked.retry(central, [ids(central)[1]])
    outcome = parked.retry(central)
    assert (outcome.applied, outcome.old, outcome.parked) == (0, 3, [])
    old = Parked.objects.using(central).get(seq=1)
    again = Slot(id=uuid.UUID(old.key), position=9)
    feed = Feed().insert(again)
    feed.applier(central, epoch=b"n" * 16).apply([feed.batch()])
    assert Slot.objects.using(central).filter(id=again.id).exists()
    assert len(ids(central)) == offset(central).parked == 3
    parked.drop(central, list(ids(central).values()))
    assert offset(central).parked == 0


def test_what_concerns_the_whole_model_leaves_everything_parked(central: str) -> None:
    taken, _ = park_a_family(central)
    taken.delete()
    without = {**PARK, "MODELS": ["zoo.slot"]}
    with (
        override_settings(SOCKSTREAM=without),
        pytest.raises(SockstreamError, match=r"zoo\.category.*Nothing was changed"),
    ):
        parked.retry(central)
    assert len(ids(central)) == 3
    assert not Slot.objects.using(central).exists()


@finds_late
def test_circles_and_many_records_at_once(central: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockstream.receiver.applying.parking.replaying.TOGETHER_BYTES", 500)
    tree = Tree(name="late")
    nul = misfit(central)
    feed = Feed().raw(INSERT, Layout("zoo.tree", ("id",), ("name",)), [tree.id.bytes, nul])
    branches = [Branch(tree=tree) for _ in range(50)]
    feed.insert(*branches, *(Leaf(branch=branch) for branch in branches))
    feed.applier(central).apply([feed.batch()])
    assert len(ids(central)) == 101
    tree.save(using=central)
    first = ids(central)[1]
    assert parked.retry(central, [ids(central)[2]]).applied == 0
    parked.retry(central)
    assert len(ids(central)) == 101
    Parked.objects.using(central).filter(pk=first).delete()
    Offset.objects.using(central).update(parked=100)
    assert parked.retry(central).applied == 100
    assert Leaf.objects.using(central).count() == 50


def test_the_signal_after_a_retry(central: str) -> None:
    taken, _ = park_a_family(central)
    taken.delete()
    heard: list[Any] = []

    def listen(**said: Any) -> None:
        heard.append((said["source"], said["first_seq"], said["last_seq"], said["counts"]()))

    records_applied.connect(listen)
    try:
        parked.retry(central)
    finally:
        records_applied.disconnect(listen)
    assert heard == [("site-a", 1, 2, {"zoo.slot": 1})]


def test_inside_the_transaction_of_a_request(central: str) -> None:
    """With ATOMIC_REQUESTS, the admin's actions run in one: it is all or nothing with it."""
    taken, _ = park_a_family(central)
    taken.delete()
    with transaction.atomic(using=central):
        assert parked.retry(central).applied == 1
        transaction.set_rollback(True, using=central)
    assert (len(ids(central)), offset(central).parked) == (3, 3)
    assert not Slot.objects.using(central).exists()


def test_a_stream_that_is_being_applied_is_waited_for(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    using = "central_pg"
    databases.clean(using)
    _, feed = park_a_family(using)
    applier = feed.applier(using)
    monkeypatch.setattr("sockstream.receiver.streams.offsets.LOCK_WAIT", 100)
    found: list[Exception] = []

    def elsewhere() -> None:
        try:
            parked.retry(using)
        except SockstreamError as error:
            found.append(error)
        finally:
            connections.close_all()

    move = progress.move

    def moved(*args: Any) -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
        move(*args)

    monkeypatch.setattr(applying, "move", moved)
    applier.apply([feed.insert(Tree()).batch()])
    assert str(found[0]).endswith("perhaps the stream is just being applied. Nothing was changed.")
    assert "\n" not in str(found[0])
    assert offset(using).parked == 3


def test_the_applier_waits_for_a_retry(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    _, feed = park_a_family(using)
    applier, batch = feed.applier(using), feed.insert(Tree()).batch()
    found: list[Exception] = []

    def elsewhere() -> None:
        try:
            with connections[using].cursor() as cursor:
                cursor.execute("SET lock_timeout = 100")
            applier.apply([batch])
        except Retry as error:
            found.append(error)
        finally:
            connections.close_all()

    with parked._holding(offset(using), using):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(30)
    assert "lock timeout" in str(found[0])
    assert applier.apply([batch]).offset == 5


def test_two_sites_and_one_of_them_is_retried(central: str) -> None:
    taken = Slot.objects.using(central).create(position=7)
    for name in ("site-a", "site-b"):
        feed = Feed().insert(Slot(position=7, name=name))
        feed.applier(central, name).apply([feed.batch()])
    mine = Parked.objects.using(central).get(source__name="site-b")
    taken.delete()
    assert parked.retry(central, [mine.pk]).applied == 1
    assert (offset(central).parked, offset(central, "site-b").parked) == (1, 0)
    assert parked.retry(central).applied == 0


@pytest.mark.parametrize("using", ["central_sqlite", "central_pg"])
def test_a_retry_that_is_killed_has_done_nothing(databases: Databases, using: str) -> None:
    """The process ends itself when all is written and nothing is committed."""
    databases.clean(using)
    taken, _ = park_a_family(using)
    taken.delete()
    code = (
        "import os, signal, django; django.setup()\n"
        "from sockstream.receiver import parked\n"
        "parked._change = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"parked.retry({using!r})"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert (len(ids(using)), offset(using).parked) == (3, 3)
    assert not Slot.objects.using(using).exists()
    assert parked.retry(using).applied == 1


# The command.


def test_list_and_show(central: str) -> None:
    assert "Nothing is parked." in run(central, "list")
    park_a_family(central)
    text = run(central, "list")
    for word in ("site-a/default", "insert", "zoo.slot", "1 to 2", "refers to the row of 3"):
        assert word in text
    found = json.loads(run(central, "list", "--json"))
    assert [(row["seq"], row["last_seq"], row["cause"], row["behind"]) for row in found] == [
        (1, 2, "fault", 0),
        (3, 3, "fault", 0),
        (4, 4, "reference", 3),
    ]
    text = run(central, "show", str(found[0]["id"]))
    for word in (found[0]["key"], "record-refused", "position", "7", "second"):
        assert word in text


def test_retry_says_what_stays(central: str) -> None:
    taken, _ = park_a_family(central)
    taken.delete()
    with pytest.raises(CommandError, match="2 records stay parked"):
        run(central, "retry", "--all")
    Category.objects.using(central).create(id=uuid.UUID(int=1), name="given")
    assert "2 records are applied." in run(central, "retry", str(ids(central)[3]))
    assert "Nothing is parked." in run(central, "list")


@pytest.mark.parametrize("action", ["show", "retry", "drop"])
def test_records_have_to_be_named(central: str, action: str) -> None:
    with pytest.raises(CommandError, match="Name records by their IDs"):
        run(central, action)


@pytest.mark.parametrize("action", ["show", "retry", "drop"])
def test_an_id_that_is_none(central: str, action: str) -> None:
    with pytest.raises(CommandError, match="No parked record has the ID 4711"):
        run(central, action, "4711")


def test_drop_asks_and_names_those_behind(central: str, monkeypatch: pytest.MonkeyPatch) -> None:
    park_a_family(central)
    first = str(ids(central)[3])
    with pytest.raises(CommandError, match="--with-dependents"):
        run(central, "drop", first, "--yes")
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    with pytest.raises(CommandError, match="no terminal to ask on"):
        run(central, "drop", first, "--with-dependents")
    assert len(ids(central)) == 3
    assert "2 records are dropped." in run(central, "drop", first, "--with-dependents", "--yes")
    assert sorted(ids(central)) == [1]


def test_drop_on_a_terminal(databases: Databases) -> None:
    """A real one: the process asks, and hears yes or no."""
    using = "central_sqlite"
    databases.clean(using)
    park_a_family(using)
    command = [sys.executable, "-m", "django", "oplog_parked", "drop", str(ids(using)[3])]
    command += ["--with-dependents", "--database", using, "--settings", "tests.settings"]
    for answer, left in (("no", 3), ("yes", 1)):
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        os.write(master, f"{answer}\n".encode())
        out, err = process.communicate(timeout=60)
        os.close(master)
        os.close(slave)
        assert "Drop these 2 records for good?" in out, err
        assert ("Not confirmed" in err) == (answer == "no")
        assert len(ids(using)) == left


# With a link.


def test_the_site_is_acked_and_both_the_log_and_the_status_say_it(
    central: str, trust: Trust
) -> None:
    taken = Slot.objects.using(central).create(position=7)
    key = uuid.uuid4()
    with Central(central, trust, ON_ERROR="park") as running:
        site = running.site()
        site.oplog.add([slot(1), slot(7, "bad", key)])
        site.oplog.add(slots(2))
        with connected(site):
            site.send_all()
            line = running.wait_for_line(f"site/main: parked 2 (zoo.slot, key {key})")
            assert line.startswith("WARNING")
            row = status.report(central)[0]
            assert (row["seq"], row["parked"], row["records"]) == (4, 1, 3)
            assert row["error_code"] == ""
            taken.delete()
            assert parked.retry(central).applied == 1
            site.oplog.add([(2, slot(7)[1], [key.bytes, 8, "good"])])
            site.send_all()
    assert Slot.objects.using(central).get(id=key).name == "good"
    assert status.report(central)[0]["parked"] == 0


def test_integer_keys_are_parked_and_retried(central: str) -> None:
    Counter.objects.using(central).create(id=1, name="theirs")
    nul = misfit(central)
    layout = Layout("zoo.counter", ("id",), ("name", "value"))
    feed = Feed().raw(INSERT, layout, [2, nul, 0]).insert(Counter(id=3, name="mine"))
    feed.applier(central).apply([feed.batch()])
    assert sorted(ids(central)) == [1]
    assert parked.retry(central).applied == 0
