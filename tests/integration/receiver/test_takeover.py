"""One stream, two connections: the newer one has it at once, and the older one does no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections
from django.utils import timezone

from sockstream.receiver.models import Offset, State
from sockstream.receiver.signals import records_applied
from sockstream.wire.errors import WireError
from sockstream.wire.sending import Welcomed
from tests.conftest import on_two_centrals
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import Oplog, Progressed, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot


@on_two_centrals
def test_a_newer_connection_takes_over_at_once(central: str, trust: Trust) -> None:
    oplog = Oplog()
    with Central(central, trust) as running:
        old = running.site(oplog=oplog)
        oplog.add(slots(1))
        old.connect()
        old.send_all()
        new = running.site(oplog=oplog)
        begun = time.monotonic()
        with connected(new):
            assert time.monotonic() - begun < 2, "nobody waits for the old socket to die"
            oplog.add(slots(1))
            new.send_all()
            error = old.wait_until_closed()
            assert error is not None
            assert error.code == "fenced"
    assert Slot.objects.using(central).count() == 2


def test_takeover_of_a_group_that_has_not_ended(central: str, trust: Trust) -> None:
    """The new connection goes on after what the old one has brought."""
    oplog = Oplog()
    with Central(central, trust, HEARTBEAT=0.5) as running:
        old = running.site(oplog=oplog)
        oplog.add(slots(1))
        oplog.add(slots(5), goes_on=True)
        old.connect()
        old.run(lambda: Progressed(6, 5) in old.events, "the group is staged")
        new = running.site(oplog=oplog)
        with connected(new):
            assert (new.acked, new.session.sent_seq) == (1, 6)
            oplog.add(slots(5))
            new.send_all()
    assert Slot.objects.using(central).count() == 11
    assert Offset.objects.using(central).get().inserts_met == 0


def test_takeover_waits_for_the_transaction_at_work(central: str, trust: Trust) -> None:
    """What the old connection is committing counts: the new one goes on after it."""
    held, go_on = threading.Event(), threading.Event()

    def hear(**_: Any) -> None:
        held.set()
        go_on.wait(20)

    oplog = Oplog()
    oplog.add(slots(3))
    records_applied.connect(hear)
    try:
        with Central(central, trust) as running:
            old = running.site(oplog=oplog)
            old.connect()
            old.fill()
            old.run(held.is_set, "at work", fill=False)
            threading.Timer(0.5, go_on.set).start()
            new = running.site(oplog=oplog)
            with connected(new):
                assert new.acked == 3
    finally:
        records_applied.disconnect(hear)


@on_two_centrals
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"epoch": b"y" * 16}, "epoch-unknown"),
        ({"highest_seq": 1, "digest": b"d" * 16}, "sender-rewound"),
        ({"highest_seq": 3, "digest": b"d" * 16}, "history-diverged"),
        ({"lowest_seq": 5, "highest_seq": 9}, "gap"),
        ({"lowest_seq": 9}, "bad-message"),
        ({"protocol_min": 9, "protocol_max": 9}, "version-unsupported"),
        ({"instance": b"clone"}, "clone-suspected"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hello_that_is_refused_takes_nothing(
    central: str, trust: Trust, changes: dict[str, Any], code: str
) -> None:
    """The link that has the stream goes on, also in the middle of a group."""
    oplog = Oplog()
    oplog.add(slots(3))
    with Central(central, trust) as running:
        with connected(running.site(oplog=oplog)) as mine:
            mine.send_all()
            if code == "clone-suspected":
                now = timezone.now()
                Offset.objects.using(central).update(
                    former_instance=b"clone", flips=2, flips_since=now
                )
            oplog.add(slots(2), goes_on=True)
            mine.fill()
            mine.pump()
            with pytest.raises(WireError) as caught:
                running.site(oplog=oplog).connect(**changes)
            assert caught.value.code == code
            state = Offset.objects.using(central).get()
            assert (state.state, state.error_code) == (State.CONNECTED, "")
            oplog.add(slots(2))
            mine.send_all()
        assert not running.said("taken over")
    assert Slot.objects.using(central).count() == 7


@on_two_centrals
def test_one_of_many_has_it(central: str, trust: Trust) -> None:
    oplog = Oplog()
    oplog.add(slots(1))
    with Central(central, trust, HANDSHAKE_TIMEOUT=10.0) as running:
        sites = [running.site(oplog=oplog) for _ in range(5)]
        for site in sites:
            site.dial()
        until = time.monotonic() + 10
        while len(left := [site for site in sites if not site.ended]) > 1:
            assert time.monotonic() < until
            for site in left:
                site.pump(0.01)
        assert {site.error.code for site in sites if site.error} == {"fenced"}
        left[0].wait_for(Welcomed)


def test_a_stream_that_waits_keeps_nobody_waiting(databases: Any, trust: Trust) -> None:
    """Its site comes back again and again, while the transaction before is at work."""
    databases.clean("central_pg", "site_pg")
    oplog = Oplog()
    oplog.add(slots(1))
    with Central("central_pg", trust, APPLIERS=1) as running:
        first = running.site(oplog=oplog)
        first.connect()
        with locked():
            first.fill()
            first.pump()
            for _ in range(8):
                site = running.site(oplog=oplog)
                site.dial()
                site.pump(0.1)
            begun = time.monotonic()
            with connected(running.site("other")):
                assert time.monotonic() - begun < 2
        with connected(running.site(oplog=oplog)) as site:
            site.send_all()


@contextmanager
def locked() -> Iterator[None]:
    """Nobody can write a zoo.Slot at central."""
    with psycopg.connect(**connections["central_pg"].get_connection_params()) as other:
        other.execute("LOCK TABLE zoo_slot IN EXCLUSIVE MODE")
        yield
        other.rollback()


def test_the_fence_is_in_the_database(central: str, trust: Trust) -> None:
    """Another process took the stream: this one finds out at its next commit."""
    with Central(central, trust) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            Offset.objects.using(central).update(fence=1)
            site.oplog.add(slots(1))
            site.fill()
            error = site.wait_until_closed()
            assert error is not None
            assert error.code == "fenced"
        assert Slot.objects.using(central).count() == 1
        with connected(site):
            site.send_all()
    assert Slot.objects.using(central).count() == 2


def test_two_centrals_on_one_database(databases: Any, trust: Trust) -> None:
    """More cores by more processes: a stream that moves to another one moves whole."""
    databases.clean("central_pg")
    oplog = Oplog()
    with Central("central_pg", trust) as one, Central("central_pg", trust) as two:
        for turn in range(6):
            running = (one, two)[turn % 2]
            site = running.site(oplog=oplog)
            site.connect()
            oplog.add(slots(10))
            site.send_all()
            oplog.add(slots(10))
            site.fill()
            site.pump()
        with connected(one.site(oplog=oplog)) as site:
            site.send_all()
    assert Slot.objects.using("central_pg").count() == 120
    assert Offset.objects.using("central_pg").get().inserts_met == 0
    connections["central_pg"].close()
