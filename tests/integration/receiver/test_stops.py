"""A record that cannot be applied stops its stream: with the reason at both ends, and alone."""

from __future__ import annotations

import time
import uuid

import pytest

from sockstream.receiver import status
from sockstream.receiver.models import Offset
from sockstream.wire.errors import Class, WireError
from sockstream.wire.records import INSERT, Layout
from sockstream.wire.sending import Welcomed
from tests.conftest import on_two_centrals
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import connected, slot, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot


def test_a_stopped_stream_says_why_and_leaves_the_others_going(central: str, trust: Trust) -> None:
    taken = Slot(position=7)
    taken.save(using=central)
    culprit = uuid.uuid4()
    with Central(central, trust) as running:
        good, bad = running.site("good"), running.site("bad")
        good.oplog.add(slots(1))
        bad.oplog.add(slots(2))
        bad.oplog.add([slot(1), slot(7, "the same", culprit)])
        bad.oplog.add(slots(1))
        with connected(good):
            good.send_all()
            bad.connect()
            bad.fill()
            error = bad.wait_until_closed()
            assert error is not None
            assert error.class_ is Class.PERSON
            assert (error.seq, error.model, error.key) == (4, "zoo.slot", str(culprit))
            assert "position" in error.words
            good.oplog.add(slots(1))
            good.send_all()
        line = running.wait_for_line("bad/main: stopped at 4")
        assert line.startswith("ERROR")
        assert str(culprit) in line
        row = next(row for row in status.report(central) if row["source"] == "bad")
        assert (row["state"], row["seq"], row["error_seq"]) == ("stopped", 2, 4)
        assert (row["error_model"], row["error_key"]) == ("zoo.slot", str(culprit))
        taken.delete()
        with connected(bad):
            assert bad.acked == 2
            bad.send_all()
    row = next(row for row in status.report(central) if row["source"] == "bad")
    assert (row["state"], row["seq"], row["error_code"]) == ("idle", 5, "")


@on_two_centrals
@pytest.mark.parametrize("label", ["nowhere.model", "auth.user"])
def test_a_model_that_central_does_not_allow(central: str, trust: Trust, label: str) -> None:
    layout = Layout(label, ("id",), ())
    with Central(central, trust) as running:
        site = running.site()
        site.oplog.add([(INSERT, layout, [1])])
        site.connect()
        site.fill()
        error = site.wait_until_closed()
        assert error is not None
        assert error.class_ is Class.PERSON
        assert error.seq == 1
    assert Offset.objects.using(central).get().state == "stopped"


@on_two_centrals
def test_what_the_site_finds_at_the_handshake_is_shown_at_central(
    central: str, trust: Trust
) -> None:
    """Central cannot see that the histories differ below the site's end; the site can."""
    with Central(central, trust) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
        site.dial()
        site.wait_for(Welcomed)
        words = "The site and central hold different histories up to record 1"
        site.session.fail(WireError("history-diverged", words), time.monotonic())
        site.wait_until_closed()
        line = running.wait_for_line("different histories")
        assert line.startswith("WARNING")
    row = status.report(central)[0]
    assert (row["state"], row["error_code"]) == ("stopped", "history-diverged")
    assert words in row["error"]
