"""Batches that cost more than they weigh: hundreds of bytes on the line must not be minutes or
hundreds of megabytes for central, nor the seconds of everybody else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from sockstream.wire.digest import extend
from sockstream.wire.messages import Ping, Records, pack
from sockstream.wire.records import (
    BEGIN,
    DELETE,
    END,
    INSERT,
    LOAD,
    Batch,
    Layout,
    Segment,
    encode_header,
)
from tests.faults.hostile.ground import MIB, Ground
from tests.integration.receiver.site import SLOT, Site, slots

TAG = Layout("polls.tag", ("id",), ("name",))


def raw(site: Site, layouts: Sequence[Layout], part: bytes, count: int, segments: int = 1) -> Batch:
    """The next batch of an oplog: so many segments, each of these `count` records."""
    header = encode_header(tuple(layouts))
    before = digest = site.oplog.digest
    for _ in range(segments):
        digest = extend(digest, header, part)
    parts = (Segment(count, len(part)),) * segments
    made = Batch(site.oplog.seq + 1, parts, False, header, part * segments, before, digest)
    site.oplog.batches.append(made)
    return made


def packed(records: Iterator[list[Any]] | Sequence[list[Any]]) -> bytes:
    return b"".join(map(msgpack.packb, records))


def end_of(site: Site) -> str:
    """Send all that the oplog holds; how it ends."""
    site.connect()
    site.run(lambda: site.ended or site.acked == site.oplog.seq, "acked or ended", 30)
    return site.error.code if site.error else "acked"


MARKS = {
    "begins": [BEGIN],
    "loads and begins": [BEGIN, LOAD],
    "whole snapshots": [BEGIN, LOAD, END],
    "ends": [END],
}


@pytest.mark.parametrize("ops", MARKS.values(), ids=MARKS)
def test_marks(ground: Ground, ops: list[int]) -> None:
    """Many thousand marks of two models, also as a group each: an effect of a few."""
    marks: list[list[Any]] = [[op, index, []] for op in ops for index in (0, 1)]
    with ground.unharmed(64 * MIB):
        site = ground.site(stream="marks")
        raw(site, [SLOT, TAG], packed(marks) * 10_000, 10_000 * len(marks))
        raw(site, [SLOT, TAG], packed(marks), len(marks), 4_000)
        site.oplog.add(slots(1))
        assert end_of(site) == "acked"


def test_headers_that_are_unused(ground: Ground) -> None:
    key = slots(1)[0][2][0]
    one = packed([[INSERT, 0, [key, None, "n"]]])
    for many in (
        [Layout(f"a.b{number}", ("i",), ()) for number in range(3_000)],
        [Layout("a.b", ("i",), tuple(f"f{number}" for number in range(4_000)))],
        [Layout("a.b", ("i", "j" * (2 * MIB)), ())],
        [Layout("c" * (4 * MIB), ("i",), ())],
    ):
        with ground.unharmed(48 * MIB):
            for number in range(8):
                site = ground.site(stream=f"headers {number % 4}")
                raw(site, [SLOT, *many], one, 1)
                assert end_of(site) == "bad-batch"


def test_headers_that_are_used(ground: Ground) -> None:
    """Each layout by one record, and none of them twice: they are paid for, and not kept."""
    with ground.unharmed(96 * MIB) as watch:
        for number in range(40):
            site = ground.site(stream="headers")
            site.oplog.epoch = bytes(16)
            layouts = [Layout("zoo.slot", ("id",), ("name",)), *foreign(number, 1_500)]
            raw(site, layouts, packed([[DELETE, n, [b"k" * 16]] for n in range(1_501)]), 1_501)
            assert end_of(site) in {"model-not-allowed", "bad-record"}
    assert watch.after - watch.before < 64 * MIB


def foreign(number: int, count: int) -> list[Layout]:
    return [Layout(f"a{number}.b{each}", ("i",), ("x", "y")) for each in range(count)]


@pytest.mark.parametrize("value", [[], {}, [[]], "", 1], ids=repr)
def test_tiny_records(ground: Ground, value: Any) -> None:
    """Sixteen megabytes of them, which are some kilobytes on the line."""
    part = packed([[DELETE, 0, [value]]]) * 60_000
    with ground.unharmed(256 * MIB):
        site = ground.site(stream="tiny")
        raw(site, [SLOT], part, 60_000, 40)
        assert end_of(site) == "bad-batch", "more records than a batch may have"
        site = ground.site(stream="tiny")
        raw(site, [SLOT], part, 60_000, 4)
        assert end_of(site) in {"record-refused", "acked"}


def test_repeats(ground: Ground) -> None:
    """They are answered without a look at what they hold, and long tails of pings not at all."""
    with ground.unharmed(96 * MIB) as watch:
        site = ground.site(stream="repeats")
        site.oplog.add(slots(1, 15 * MIB))
        site.connect()
        site.send_all()
        frame = pack(Records(site.oplog.batches[0], "zlib"))
        assert len(frame) < 20_000
        site.pump(0.2)
        before = sum(watch.process.cpu_times()[:2])
        site._outbound = frame * 80 + pack(Ping(1))
        begun = time.monotonic()
        site.run(lambda: not site._outbound, "sent", fill=False)
        time.sleep(max(0.0, begun + 1.0 - time.monotonic()))
        assert sum(watch.process.cpu_times()[:2]) - before < 1.5
        site.oplog.add(slots(1))
        site.send_all()
