"""A source that is disabled, or revoked, is gone within a second, whatever it is doing."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from sockstream import tls
from sockstream.receiver.applying import progress
from sockstream.receiver.models import Offset, Source, Staged
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.wire.errors import WireError
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import Site, connected, slot, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

# A second, and what a busy machine needs to run this test beside it.
AT_ONCE = 2.0
SLOWLY: dict[str, Any] = {"RECHECK": 600.0, "HEARTBEAT": 5.0}


def disable(using: str, name: str = "site") -> float:
    """By the command; when it was done."""
    call_command("oplog_source", "disable", name, "--database", using, stdout=io.StringIO())
    return time.monotonic()


def code_of(site: Site) -> str:
    error = site.wait_until_closed()
    return error.code if error is not None else ""


@contextmanager
def held_up(using: str, position: int) -> Iterator[None]:
    """Whoever inserts this unique value waits for us, in the middle of his transaction."""
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic(using=using):
            Slot.objects.using(using).create(position=position)
            ready.set()
            done.wait(60)
            transaction.set_rollback(True, using=using)
        connections[using].close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(20)
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_for_a_lock(using: str) -> None:
    """Until a transaction waits for another one."""
    for _ in range(200):
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.05)
    raise AssertionError("nobody waits")


def test_an_idle_link(central: str, trust: Trust) -> None:
    with Central(central, trust, **SLOWLY) as running:
        other = running.site("other")
        with connected(other), connected(running.site()) as site:
            site.oplog.add(slots(1))
            site.send_all()
            done = disable(central)
            assert code_of(site) == "source-disabled"
            assert time.monotonic() - done < AT_ONCE
            other.oplog.add(slots(1))
            other.send_all()


def test_a_link_that_never_stops_sending(central: str, trust: Trust) -> None:
    """On SQLite the command gets in between two of the applier's transactions."""
    with Central(central, trust, **SLOWLY) as running, connected(running.site()) as site:
        done: list[float] = []
        thread = threading.Thread(target=lambda: done.append(_disable_apart(central)))
        for _ in range(3):
            site.oplog.add(slots(200))
        thread.start()
        until = time.monotonic() + 60
        while not site.ended:
            assert time.monotonic() < until, "neither disabled nor ended"
            for _ in range(5):
                site.oplog.add(slots(200))
            site.fill()
            site.pump(0.01)
        ended = time.monotonic()
        thread.join()
        assert site.error is not None
        assert site.error.code == "source-disabled"
        assert ended - done[0] < AT_ONCE
    offset = Offset.objects.using(central).get()
    assert Slot.objects.using(central).count() == offset.seq


def _disable_apart(using: str) -> float:
    try:
        return disable(using)
    finally:
        connections[using].close()


def test_a_group_that_is_being_applied_is_not_committed(databases: Databases, trust: Trust) -> None:
    """The command does not wait for it, and all of the pool's threads may be at work."""
    databases.clean("central_pg")
    using = "central_pg"
    with (
        Central(using, trust, APPLIERS=1, **SLOWLY) as running,
        connected(running.site()) as site,
    ):
        with held_up(using, 7):
            site.oplog.add([slot(1), slot(7), slot(2)])
            site.fill()
            site.pump()
            wait_for_a_lock(using)
            begun = time.monotonic()
            done = disable(using)
            assert done - begun < AT_ONCE
            assert code_of(site) == "source-disabled"
            assert time.monotonic() - done < AT_ONCE
        running.stop()
    row = Offset.objects.using(using).get()
    assert (row.seq, Slot.objects.using(using).count()) == (0, 0)


def test_a_group_that_does_not_end(central: str, trust: Trust) -> None:
    """No transaction waits for the rest of it, so that the command need not wait either."""
    with Central(central, trust, **SLOWLY) as running, connected(running.site()) as site:
        site.oplog.add(slots(2), goes_on=True)
        site.fill()
        staged = Staged.objects.using(central)
        site.run(staged.exists, "staged", fill=False)
        begun = time.monotonic()
        done = disable(central)
        assert done - begun < AT_ONCE
        assert code_of(site) == "source-disabled"
        assert time.monotonic() - done < AT_ONCE
    assert not Slot.objects.using(central).exists()


def test_a_hello_that_waits_for_its_stream_holds_nobody_up(databases: Databases) -> None:
    """Another process applies a group of the stream; who disables the source waits for neither."""
    using = "central_pg"
    databases.clean(using)
    Feed().opened(using)
    ready, done = threading.Event(), threading.Event()

    def apply() -> None:
        with transaction.atomic(using=using):
            Offset.objects.using(using).select_for_update().get()
            ready.set()
            done.wait(60)
        connections[using].close()

    heard: list[WireError] = []

    def hello() -> None:
        try:
            Feed().opened(using)
        except WireError as error:
            heard.append(error)
        finally:
            connections[using].close()

    threads = [threading.Thread(target=apply), threading.Thread(target=hello)]
    threads[0].start()
    assert ready.wait(20)
    threads[1].start()
    wait_for_a_lock(using)
    begun = time.monotonic()
    assert disable(using, "site-a") - begun < AT_ONCE
    done.set()
    for thread in threads:
        thread.join()
    assert [error.code for error in heard] == ["source-disabled"]


def test_the_last_statement_of_a_transaction_sees_it(central: str) -> None:
    feed = Feed()
    opened = feed.opened(central)

    def move() -> None:
        with transaction.atomic(using=central):
            held = progress.hold("site-a", "default", opened.fence, central)
            registry.disable(Name("site-a"), using=central)
            progress.move(held, central)

    with pytest.raises(WireError, match="enable site-a"):
        move()
    assert not Source.objects.using(central).get().disabled  # rolled back with the rest


@pytest.mark.parametrize("action", [registry.disable, registry.retire])
def test_the_next_transaction_does_not_begin(action: Any, central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Slot(name="before")).batch()])
    action(Name("site-a"), using=central)
    with pytest.raises(WireError, match="enable site-a"):
        applier.apply([feed.insert(Slot(name="after")).batch()])
    registry.enable(Name("site-a"), using=central)
    assert feed.opened(central, lowest_seq=2).offset == 1


def test_a_disabled_source_that_comes_back_is_refused(central: str, trust: Trust) -> None:
    with Central(central, trust, **SLOWLY) as running, connected(running.site()) as site:
        site.oplog.add(slots(1))
        site.send_all()
        disable(central)
        with pytest.raises(WireError, match="oplog_source enable site"):
            running.site(oplog=site.oplog).connect()


def test_a_list_of_revoked_ones_is_seen_at_once(central: str, trust: Trust) -> None:
    """Also while the pool is at work, without a signal and long before RECHECK."""
    bad = trust.client("bad")
    crl = trust.folder / "crl.pem"
    context = tls.client_context(trust.ca, *bad)
    with (
        Central(central, trust, **SLOWLY) as running,
        connected(running.site(context=context)) as site,
    ):
        site.oplog.add(slots(1))
        site.send_all()
        trust.revocations([bad[0]]).rename(crl)
        begun = time.monotonic()
        assert code_of(site) == "auth-revoked"
        assert time.monotonic() - begun < AT_ONCE
