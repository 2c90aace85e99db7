"""Somebody has a site's key. The site's own streams are theirs then, and nothing else is."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User

from sockstream.receiver.models import Offset, Source
from sockstream.sender.models import Stream
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Confirm, Message, Records, pack
from sockstream.wire.records import INSERT, Layout
from tests.faults.hostile.ground import MIB, PAIR, Ground
from tests.integration.receiver.site import Site, connected, slots

USER = Layout("auth.user", ("id",), ("username", "password", "is_superuser"))


def offset_of(source: str, stream: str) -> dict[str, Any]:
    names = ("seq", "epoch", "digest", "fence", "session", "instance", "state", "error_code")
    offsets = Offset.objects.using(PAIR.central).filter(source__name=source, stream=stream)
    return dict(offsets.values(*names).get())


def sends_anyway(site: Site, *messages: Message) -> str:
    """Send what our own session would not; the code of the answer."""
    site._outbound = b"".join(pack(message) for message in messages)
    error = site.wait_until_closed()
    assert error is not None
    return error.code


def test_another_source_s_stream(ground: Ground) -> None:
    """A hello names no source: only the certificate does. Nothing that it says reaches another's.

    The stream has the same name, the same epoch, the same digest: only a person may say that it is
    the other one's, see `oplog_source rename`.
    """
    theirs = Stream.objects.using(PAIR.site).get()
    with ground.unharmed(16 * MIB):
        before = offset_of("site", PAIR.site)
        site = ground.site(stream=PAIR.site)
        site.oplog.epoch = bytes(theirs.epoch)
        with pytest.raises(WireError) as caught:
            site.connect(
                lowest_seq=theirs.seq + 1, highest_seq=theirs.seq + 5, digest=bytes(theirs.digest)
            )
        assert caught.value.code == "source-renamed"
        site.close()
        site.oplog.epoch = os.urandom(16)
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            assert offset_of("hostile", PAIR.site)["seq"] == 1
        after = offset_of("site", PAIR.site)
        assert {**after, "seq": 0, "digest": b""} == {**before, "seq": 0, "digest": b""}
    assert set(Source.objects.using(PAIR.central).values_list("name", flat=True)) >= {"hostile"}


def test_the_offset_is_not_negotiated_twice(ground: Ground) -> None:
    """Neither a second hello or confirm, nor one of another offset, moves anything."""
    site = ground.site(stream="moved")
    site.oplog.add(slots(3))
    with ground.unharmed(16 * MIB):
        with connected(site):
            site.send_all()
        at_three = offset_of("hostile", "moved")["seq"]
        assert at_three == 3
        welcome = site.connect()
        hello = replace(site._hello(), lowest_seq=1, highest_seq=0)
        assert sends_anyway(site, hello) == "bad-state"
        site.connect()
        again = Confirm(site.session_number, 1, welcome.digest)
        assert sends_anyway(site, again) == "bad-state"
        for confirm, code in (
            (Confirm(99, 4, welcome.digest), "bad-message"),
            (Confirm(0x7FFFFFFF, 4, welcome.digest), "bad-message"),
            (Confirm(1, 9, welcome.digest), "bad-message"),
        ):
            site.dial()
            site.run(lambda: bool(site.events), "welcome", fill=False)
            assert sends_anyway(site, confirm) == code
        assert offset_of("hostile", "moved")["seq"] == 3


def test_records_that_do_not_follow(ground: Ground) -> None:
    """A gap, another history, a batch altered on the way, one that was applied long ago."""
    site = ground.site(stream="chained")
    for _ in range(4):
        site.oplog.add(slots(2))
    first, second, third, fourth = site.oplog.batches
    with ground.unharmed(16 * MIB):
        site.oplog.batches = [first]
        with connected(site):
            site.send_all()
        for batch, code in (
            (third, "gap"),
            (replace(second, digest_before=bytes(16)), "digest-mismatch"),
            (replace(second, data=second.data[:-1] + b"!"), "digest-mismatch"),
            (replace(second, header=second.header.replace(b"name", b"nam3")), "digest-mismatch"),
            (replace(fourth, first_seq=3), "digest-mismatch"),
        ):
            site.connect()
            assert sends_anyway(site, Records(batch)) == code
        with connected(site):
            site._outbound = pack(Records(first))
            site.oplog.batches = [first, second]
            site.send_all()
        assert offset_of("hostile", "chained")["seq"] == 4


def test_a_model_outside_the_allow_list(ground: Ground) -> None:
    """Central's MODELS are what a site may write, whatever tables there are."""
    site = ground.site(stream="greedy")
    site.oplog.add([(INSERT, USER, [1, "root", "!", True])])
    with ground.unharmed(16 * MIB):
        site.connect()
        site.fill()
        error = site.wait_until_closed()
        assert error is not None
        assert (error.code, error.model) == ("model-not-allowed", "auth.user")
    assert offset_of("hostile", "greedy")["seq"] == 0
    assert not User.objects.using(PAIR.central).exists()
