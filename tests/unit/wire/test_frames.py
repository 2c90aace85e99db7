from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.wire.errors import WireError
from sockstream.wire.frames import FrameReader, encode


def test_a_frame_is_a_big_endian_length_and_a_body() -> None:
    assert encode(b"abc") == b"\x00\x00\x00\x03abc"


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.integers(0, 60)))
def test_bodies_come_out_however_the_bytes_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(encode, bodies))
    reader, found, start = FrameReader(40), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += reader.feed(data[start:end])
        start = max(start, end)
    assert found == bodies
    assert not reader.partial


@pytest.mark.parametrize("length", [0, 65, 1 << 31, (1 << 32) - 1])
def test_a_length_out_of_bounds_is_refused_at_once(length: int) -> None:
    code = "frame-too-large" if length else "bad-frame"
    with pytest.raises(WireError) as caught:
        FrameReader(64).feed(length.to_bytes(4))
    assert caught.value.code == code


@pytest.mark.parametrize("length", [1, 64])
def test_the_limit_itself_is_allowed(length: int) -> None:
    assert FrameReader(64).feed(encode(bytes(length))) == [bytes(length)]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"])
def test_another_protocol_is_refused_before_anything_is_kept(data: bytes) -> None:
    reader = FrameReader(64 << 10)
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="bytes was announced"):
            reader.feed(data)
        assert tracemalloc.get_traced_memory()[1] < 64 << 10
    finally:
        tracemalloc.stop()


def test_the_limit_can_be_raised_between_two_frames() -> None:
    reader = FrameReader(4)
    reader.push(encode(b"1234") + encode(b"12345"))
    assert reader.next() == b"1234"
    reader.limit = 5
    assert reader.next() == b"12345"
    assert reader.next() is None


def test_a_frame_that_has_begun_is_partial() -> None:
    reader = FrameReader(4)
    assert not reader.partial
    assert reader.feed(b"\x00\x00\x00\x02a") == []
    assert reader.partial
