from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.wire.bounded import WIDTH, survey, unpack_all, unpack_one
from sockstream.wire.errors import WireError
from sockstream.wire.limits import DEFAULT, Limits

MIB = 1 << 20
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


def refused(data: bytes, limits: Limits = DEFAULT) -> str:
    with pytest.raises(WireError) as caught:
        unpack_one(data, limits)
    assert caught.value.code == "bad-frame"
    return caught.value.words


@given(PLAIN)
def test_what_was_packed_comes_out(value: object) -> None:
    assert unpack_one(msgpack.packb(value), Limits(depth=99)) == value


@given(st.lists(PLAIN))
def test_objects_in_a_row_come_out(values: list[object]) -> None:
    data = b"".join(map(msgpack.packb, values))
    assert unpack_all(data, len(values), DEFAULT) == values
    survey(data, Limits(depth=99))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0\xc0",  # trailing bytes
        b"\xc1",  # the byte that means nothing
        b"\x91",  # cut off
        b"\xc0\x92\x01",  # cut off in the second object
        b"\xa1\xff",  # no UTF-8
        b"\xa3\xed\xa0\x80",  # half a surrogate pair
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\xd4\x05\x00",  # an extension
        b"\x82\xa1a\x01\xa1a\x02",  # a key twice
        b"\x81\x01\x02",  # a key that is a number
        b"\x81\xc4\x01a\x02",  # a key that is binary
        b"\x81\x90\x02",  # a key that is a list
        b"\xdd\xff\xff\xff\xff",  # four thousand million elements, none there
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_second_object_that_is_cut_off_is_noticed(cut: int) -> None:
    whole = msgpack.packb([1, "two", b"three"])
    with pytest.raises(WireError):
        unpack_all(b"\xc0" + whole[:-cut], 2, DEFAULT)


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 40])
def test_another_number_of_objects_is_refused(count: int) -> None:
    with pytest.raises(WireError):
        unpack_all(b"\x01\x02", count, DEFAULT)


@pytest.mark.parametrize("byte", [b"\x80", b"\x90", b"\xa0", b"\xc0"])
def test_a_frame_of_more_objects_than_were_said_costs_little_memory(byte: bytes) -> None:
    bomb = byte * (16 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack_all(bomb, 10, DEFAULT)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * MIB


def test_objects_in_a_row_are_bounded_too() -> None:
    assert unpack_all(b"\x01" * 10, 10, Limits(elements=10)) == [1] * 10
    with pytest.raises(WireError, match="too many"):
        unpack_all(b"\x01" * 11, 11, Limits(elements=10))


def test_an_extension_is_refused_before_it_is_built() -> None:
    # Each would take forty times its size in memory.
    assert "extension 5" in refused(msgpack.packb([msgpack.ExtType(5, b"x")] * 100))


def test_depth_is_bounded() -> None:
    limits = Limits(depth=3)
    assert unpack_one(b"\x91\x91\x91\x01", limits) == [[[1]]]
    assert "deeply" in refused(b"\x91\x91\x91\x91\x01", limits)
    assert "deeply" in refused(b"\x91\x81\xa1a\x91\x91\x01", limits)
    refused(b"\x91" * 100_000 + b"\xc0")


def test_elements_are_bounded_wherever_they_are() -> None:
    limits = Limits(elements=100)
    assert unpack_one(msgpack.packb([0] * 99), limits) == [0] * 99
    refused(msgpack.packb([0] * 101), limits)
    refused(msgpack.packb([[0] * 30] * 4), limits)
    refused(msgpack.packb([[]] * 60), limits)
    refused(msgpack.packb([{}] * 60), limits)
    refused(msgpack.packb({str(n): n for n in range(101)}), limits)


WIDE = b"\xdd\x00\x40\x00\x00" + b"\x80" * (4 * MIB)
NARROW = (b"\xdc\x10\x00" + b"\x80" * 4096) * 1024
NARROW_LISTS = (b"\xdc\x10\x00" + b"\x90" * 4096) * 1024


@pytest.mark.parametrize(
    ("bomb", "count"),
    [(WIDE, 1), (NARROW, 1024), (NARROW_LISTS, 1024)],
    ids=["wide", "maps", "lists"],
)
def test_a_frame_of_empty_containers_costs_little_memory(bomb: bytes, count: int) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="too many elements"):
            unpack_all(bomb, count, DEFAULT)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Unpacked freely, each costs 290 MB.
    assert peak < 100 * MIB


@pytest.mark.parametrize(
    "claim", [b"\xdc\xff\xff", b"\xdd\x00\x0f\xff\xff", b"\xdd\x00\x00\x0f\xff"]
)
def test_nested_claims_of_wide_arrays_cost_little(claim: bytes) -> None:
    bomb = claim * (MIB // len(claim))
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(WireError):
            unpack_all(bomb, 1, DEFAULT)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 * MIB
    assert time.perf_counter() - started < 5


def test_a_wide_array_of_what_is_no_text_is_refused() -> None:
    """The survey looks at lengths only: what is wrong with a text is found as it is built."""
    refused_all = msgpack.packb([None] * (2 * WIDTH) + [""])[:-1] + b"\xa1\xff"
    with pytest.raises(WireError, match="Not the msgpack"):
        unpack_all(refused_all, 1, DEFAULT)


def test_an_honest_wide_array_is_unpacked() -> None:
    wide = list(range(10 * WIDTH))
    assert unpack_all(msgpack.packb([1, 0, [wide, "x"]]), 1, DEFAULT) == [[1, 0, [wide, "x"]]]


@pytest.mark.parametrize("value", ["x" * 70_000, b"x" * 300, -1, 1.5, {"a": [None, True]}, 1 << 63])
def test_the_survey_reads_every_form(value: object) -> None:
    survey(msgpack.packb([value, 200, 70_000, 1 << 40, -200, -70_000, -(1 << 40)]), DEFAULT)
    with pytest.raises(WireError):
        survey(msgpack.packb([value])[:-1], DEFAULT)


@pytest.mark.parametrize("data", [b"\xc1", b"\x91" * 20 + b"\xc0", b"\xd4\x05\x00", b"\xd9"])
def test_the_survey_refuses(data: bytes) -> None:
    with pytest.raises(WireError):
        survey(data, DEFAULT)


@given(st.binary())
def test_random_bytes_are_unpacked_or_refused(data: bytes) -> None:
    with suppress(WireError):
        assert len(unpack_all(data, 2, DEFAULT)) == 2
