"""Groups that take long to come: nobody waits for them, and they get through any line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest
from django.db import connections

from sockstream.receiver import status
from sockstream.receiver.applying import staging
from sockstream.receiver.applying.applier import Applier
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.models import Offset, Source, Staged
from sockstream.receiver.streams import queue
from sockstream.receiver.streams.pool import Pool
from sockstream.wire.records import Batch
from tests.conftest import on_two_centrals
from tests.databases import Databases
from tests.ends import wait_until
from tests.integration.receiver.central import Central
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Oplog, Progressed, Site, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

HALF_SENT = 24
SMALL_CACHE = "PRAGMA journal_mode = WAL; PRAGMA cache_size = -1999"


def staged(using: str) -> int:
    return sum(Offset.objects.using(using).values_list("staged_seq", flat=True))


def keep(site: Site, last: int) -> None:
    """Send what the oplog holds, and wait until central keeps it up to record `last`."""
    site.run(lambda: any(said.seq >= last for said in site.said(Progressed)), f"{last} are kept")


@on_two_centrals
def test_half_sent_groups_keep_nobody_out(central: str, trust: Trust) -> None:
    """Another site is welcomed, its record is acked, and one of them may be disabled at once."""
    with Central(central, trust, HEARTBEAT=5.0) as running, ExitStack() as stack:
        for number in range(HALF_SENT):
            site = running.site(f"slow{number // 8}", stream=f"s{number % 8}")
            site.oplog.add(slots(2), goes_on=True)
            stack.enter_context(connected(site))
            site.fill()
            site.pump()
        wait_until(lambda: Staged.objects.using(central).count() == HALF_SENT, "staged")
        begun = time.monotonic()
        quick = running.site("quick")
        quick.oplog.add(slots(1))
        with connected(quick):
            quick.send_all()
        assert time.monotonic() - begun < 5
        Source.objects.using(central).filter(name="slow0").update(disabled=True)
        running.wait_for_line("may not go on: source-disabled")
        threads = [thread for thread in threading.enumerate() if "applier" in thread.name]
        assert len(threads) <= 6
    assert Slot.objects.using(central).count() == 1
    assert Staged.objects.using(central).count() == HALF_SENT


@on_two_centrals
def test_a_group_gets_through_a_line_that_breaks_after_each_batch(
    central: str, trust: Trust
) -> None:
    oplog = Oplog()
    for _ in range(5):
        oplog.add(slots(3), goes_on=True)
    oplog.add(slots(3))
    with Central(central, trust, HEARTBEAT=0.2) as running:
        for number, batch in enumerate(oplog.batches, 1):
            site = running.site(oplog=oplog)
            welcome = site.connect()
            assert (welcome.offset, welcome.staged_seq) == (0, batch.first_seq - 1)
            site.session.send(batch, time.monotonic())
            if number < len(oplog.batches):
                site.run(lambda: staged(central) >= batch.last_seq, "staged", fill=False)  # noqa: B023
            else:
                site.run(lambda: site.acked == oplog.seq, "acked")  # noqa: B023
            site.close()
    assert Slot.objects.using(central).count() == oplog.seq
    assert not Staged.objects.using(central).exists()


@on_two_centrals
def test_a_group_is_begun_while_it_comes(
    central: str, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, arrived, here = threading.Event(), threading.Event(), []
    write, put = Writer.write, queue.StreamQueue.put

    def write_slowly(self: Writer, *args: Any, **options: Any) -> Any:
        begun.set()
        assert arrived.wait(20)
        return write(self, *args, **options)

    def note(self: queue.StreamQueue, batch: Batch) -> None:
        put(self, batch)
        here.append(batch)
        if len(here) == 3:
            arrived.set()

    monkeypatch.setattr(Writer, "write", write_slowly)
    monkeypatch.setattr(queue.StreamQueue, "put", note)
    monkeypatch.setattr(staging, "add", None)
    with Central(central, trust, HEARTBEAT=0.2) as running, connected(running.site()) as site:
        site.oplog.add(slots(3), goes_on=True)
        site.run(begun.is_set, "begun")
        site.oplog.add(slots(3), goes_on=True)
        site.oplog.add(slots(3))
        site.send_all()
    assert Slot.objects.using(central).count() == 9


@on_two_centrals
def test_nothing_is_begun_ahead_while_others_wait(
    central: str, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def apply(self: Applier, batches: Sequence[Batch], **options: Any) -> Any:
        asked.append(options["more"])
        return take(self, batches, **options)

    take = Applier.apply
    monkeypatch.setattr(Applier, "apply", apply)
    monkeypatch.setattr(Pool, "waiting", 1)
    with Central(central, trust, HEARTBEAT=0.2) as running, connected(running.site()) as site:
        site.oplog.add(slots(3), goes_on=True)
        keep(site, 3)
    assert asked == [None]


@on_two_centrals
def test_the_beginning_behind_a_whole_group_is_not_staged_at_once(
    central: str, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end may be near."""
    monkeypatch.setattr(queue, "_LINGER", 60.0)
    with Central(central, trust, HEARTBEAT=0.2) as running, connected(running.site()) as site:
        for n in range(5):
            site.oplog.add(slots(1), slots(2), goes_on=True)
            site.run(lambda: site.acked == 3 * n + 1, "acked")  # noqa: B023
            assert not Staged.objects.using(central).exists()


@on_two_centrals
def test_it_is_staged_after_a_moment(central: str, trust: Trust) -> None:
    with Central(central, trust, HEARTBEAT=0.2) as running, connected(running.site()) as site:
        site.oplog.add(slots(1), slots(2), goes_on=True)
        keep(site, 3)
        assert (site.acked, staged(central)) == (1, 3)
        site.oplog.add(slots(1))
        site.send_all()
    assert Slot.objects.using(central).count() == 4


@on_two_centrals
def test_an_older_site_sends_from_the_offset(central: str, trust: Trust) -> None:
    """It does not know what is staged; central knows what it has already."""
    oplog = Oplog()
    oplog.add(slots(2))
    oplog.add(slots(3), goes_on=True)
    with Central(central, trust, HEARTBEAT=0.2) as running:
        site = running.site(oplog=oplog, resumes=False)
        site.connect()
        keep(site, 5)
        site.close()
        oplog.add(slots(4), goes_on=True)
        oplog.add(slots(1))
        with connected(site):
            assert site.session.sent_seq == 2
            site.send_all()
        offset = Offset.objects.using(central).get()
    assert (offset.seq, offset.records_applied, offset.inserts_met) == (10, 10, 0)


@on_two_centrals
def test_a_restored_site_sends_something_else(central: str, trust: Trust) -> None:
    """Nothing of what is staged was applied, so the histories have not diverged."""
    before = Oplog()
    before.add(slots(2))
    restored = Oplog()
    restored.epoch, restored.batches = before.epoch, list(before.batches)
    before.add(slots(3), goes_on=True)
    restored.add(slots(4), goes_on=True)
    restored.add(slots(1))
    with Central(central, trust, HEARTBEAT=0.2) as running:
        site = running.site(oplog=before)
        site.connect()
        keep(site, 5)
        site.close()
        again = running.site(oplog=restored, resumes=False)
        with connected(again):
            again.send_all()
    assert set(Slot.objects.using(central).values_list("id", flat=True)) == {
        key for batch in restored.batches for key in keys(batch)
    }


def keys(batch: object) -> Iterator[object]:
    from uuid import UUID

    from sockstream.wire.records import Batch, segments

    assert isinstance(batch, Batch)
    for segment in segments(batch):
        for _, _, values in segment.records:
            yield UUID(bytes=values[0])


@on_two_centrals
def test_a_site_hears_that_its_records_are_kept(central: str, trust: Trust) -> None:
    """The window is free again, nothing is acked, and both ends show how much it is."""
    with Central(central, trust, HEARTBEAT=0.2) as running:
        site = running.site()
        batch = site.oplog.add(slots(5), goes_on=True)
        with connected(site):
            keep(site, 5)
            assert Progressed(5, 5) in site.events
            assert site.session.can_send(8 << 20)
            assert site.acked == 0
            [now] = status.report(central)
            assert (now["staged"], now["staged_bytes"]) == (5, batch.size)
            site.oplog.add(slots(1))
            site.send_all()
        [now] = status.report(central)
        assert (now["staged"], now["staged_bytes"]) == (0, 0)


@on_two_centrals
def test_more_than_central_keeps(central: str, trust: Trust) -> None:
    """The stream stops, says so at both ends, and goes on once there is room."""
    oplog = Oplog()
    for _ in range(4):
        oplog.add(slots(10, 40), goes_on=True)
    oplog.add(slots(1))
    with Central(central, trust, STAGED_MAX=2 * oplog.batches[0].size) as running:
        site = running.site(oplog=oplog)
        site.connect()
        for batch in oplog.batches[:3]:
            site.session.send(batch, time.monotonic())
            until = time.monotonic() + 3 * queue._LINGER
            site.run(lambda: site.ended or time.monotonic() > until, "staged", fill=False)  # noqa: B023
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "group-too-large"
        running.wait_for_line("STAGED_MAX")
    [now] = status.report(central)
    assert (now["state"], now["error_code"], now["staged"]) == ("stopped", "group-too-large", 20)
    with Central(central, trust) as running:
        again = running.site(oplog=oplog)
        with connected(again):
            again.send_all()
    assert Slot.objects.using(central).count() == 41
    [now] = status.report(central)
    assert (now["state"], now["error_code"]) != ("stopped", "group-too-large")


@on_two_centrals
def test_what_comes_quickly_is_not_staged(central: str, trust: Trust) -> None:
    """A group that fits into the window, on a line that does not rest, is applied from memory."""
    with Central(central, trust) as running:
        site = running.site()
        kept: list[object] = []
        with staging_noted(kept), connected(site):
            for _ in range(3):
                for _ in range(3):
                    site.oplog.add(slots(20), goes_on=True)
                    until = time.monotonic() + 0.2
                    site.run(lambda: time.monotonic() > until, "one batch on its way")  # noqa: B023
                site.oplog.add(slots(1))
                site.send_all()
    assert kept == []


@contextmanager
def staging_noted(kept: list[object]) -> Iterator[None]:
    from sockstream.receiver.applying import staging

    whole = staging.add

    def add(*args: object) -> None:
        kept.append(args)
        whole(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "add", add)
        # A busy machine may take longer between two batches of one group.
        patch.setattr(queue, "_LINGER", 5.0)
        yield


def test_memory_stays_flat_for_a_group_of_any_size(databases: Databases, trust: Trust) -> None:
    """Two hundred thousand records in one transaction: staged, and applied chunk by chunk."""
    databases.clean("central_sqlite")
    oplog = Oplog()
    for _ in range(10):
        oplog.add(slots(1_000, 20), goes_on=True)
    with (
        receiver("central_sqlite", trust, pragmas=SMALL_CACHE) as running,
        connected(site_of(running, trust, oplog)) as site,
    ):
        process = psutil.Process(running.pid)
        oplog.add(slots(20_000, 20))
        site.send_all(60)
        before = highest = process.memory_info().rss
        for number in range(200):
            oplog.add(slots(1_000, 20), goes_on=number < 199)
            site.fill()
            site.pump()
            highest = max(highest, process.memory_info().rss)
        until = time.monotonic() + 120
        while site.acked < oplog.seq and time.monotonic() < until:
            site.fill()
            site.pump(0.1)
            highest = max(highest, process.memory_info().rss)
    assert site.acked == oplog.seq
    assert highest - before < 40 << 20, f"{(highest - before) >> 20} MiB more"
    assert Slot.objects.using("central_sqlite").count() == oplog.seq
    connections["central_sqlite"].close()
