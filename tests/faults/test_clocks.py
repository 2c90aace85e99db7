"""Clocks that jump, at either end and at both: no timer fires, nothing is reordered or repeated."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from demo.compare import compare
from polls.models import Tag
from sockstream.receiver.models import Offset
from sockstream.sender.models import Batch
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until_applied
from tests.faults.clocks import jumping

HEARTBEAT = 0.7
HOUR = 3600
# What the sender's clock and central's are off by, in seconds, one after the other.
JUMPS = [(HOUR, 0), (-HOUR, HOUR), (0, -HOUR), (HOUR, HOUR), (0.5, -1)]


@pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True)
def test_clocks_that_jump(pair: Pair, certificates: Certificates, tmp_path: Path) -> None:
    here, there = tmp_path / "site", tmp_path / "central"
    set_clock(here, 0)
    set_clock(there, 0)
    central = ReceiverProcess(pair.central, certificates, settings={"HEARTBEAT": HEARTBEAT})
    central.launcher = jumping(there)
    with central:
        sender = SenderProcess(pair.site, certificates, central.address)
        sender.launcher = jumping(here)
        with sender:
            sender.wait_until_connected()
            for turn, (site, other) in enumerate(JUMPS):
                set_clock(here, site)
                set_clock(there, other)
                Tag(name=f"turn {turn}").save(using=pair.site)
                wait_until_applied(pair, sender, central)
                # The jump was one: it shows in what is written down.
                made = Batch.objects.using(pair.site).latest("first_seq").made_at
                applied = Offset.objects.using(pair.central).get().applied_at
                assert abs(made - timezone.now() - timedelta(seconds=site)) < timedelta(minutes=1)
                assert applied is not None
                off = applied - timezone.now() - timedelta(seconds=other)
                assert abs(off) < timedelta(minutes=1)
            time.sleep(4 * HEARTBEAT)
            assert len([line for line in sender.lines if "Connected to" in line]) == 1
            assert not [line for line in central.lines if "gone" in line]
            assert sender.stop() == 0
    offset = Offset.objects.using(pair.central).get()
    assert offset.records_applied == offset.seq == len(JUMPS)
    assert compare([Tag], pair.site, pair.central) == []


def set_clock(file: Path, seconds: float) -> None:
    """At once, so that nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    os.replace(new, file)  # noqa: PTH105
