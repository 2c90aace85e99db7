from __future__ import annotations

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from sockstream.wire.digest import SIZE, ZERO, Position, extend


@given(st.binary(min_size=16, max_size=16), st.binary(), st.binary())
def test_the_digest_is_blake2b_of_what_was_before_and_what_came(
    before: bytes, header: bytes, segment: bytes
) -> None:
    expected = blake2b(before + header + segment, digest_size=16).digest()
    assert extend(before, header, segment) == expected


def test_a_stream_begins_with_zeros() -> None:
    assert bytes(SIZE) == ZERO
    assert extend(ZERO, b"h", b"s") != extend(extend(ZERO, b"h", b""), b"h", b"s")


def test_a_position_is_a_value_that_reads_short() -> None:
    position = Position(b"\xab" * 16, 42, b"\xcd" * 16)
    assert position == Position(b"\xab" * 16, 42, b"\xcd" * 16)
    assert str(position) == "abababab:42:cdcdcdcd"
