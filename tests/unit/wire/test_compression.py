from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.wire.compression import CODECS, compress, decompress
from sockstream.wire.errors import WireError

LIMIT = 16 << 20


def refused(data: bytes, codec: str, raw_length: int) -> str:
    with pytest.raises(WireError) as caught:
        decompress(data, codec, raw_length, LIMIT)
    return caught.value.code


@given(st.binary(), st.sampled_from(["", *CODECS]), st.integers(1, 50))
def test_what_was_compressed_comes_out(data: bytes, codec: str, times: int) -> None:
    used, smaller = compress(data * times, codec)
    assert len(smaller) <= len(data * times)
    assert decompress(smaller, used, len(data * times), LIMIT) == data * times


def test_what_does_not_pay_is_sent_as_it_is() -> None:
    noise = random.Random(1).randbytes(1000)
    assert compress(noise, "zlib") == ("", noise)
    assert compress(b"a" * 1000, "zlib")[0] == "zlib"


def test_a_bomb_is_never_inflated() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    tracemalloc.start()
    try:
        assert refused(bomb, "zlib", 1000) == "decompress-limit"
        assert refused(bomb, "zlib", 64 << 20) == "decompress-limit"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [9, 11])
@pytest.mark.parametrize("codec", ["", "zlib"])
def test_another_length_than_declared_is_refused(codec: str, length: int) -> None:
    _, data = compress(b"a" * 10, codec) if codec else ("", b"a" * 10)
    assert refused(data, codec, length) in {"bad-batch", "decompress-limit"}


@pytest.mark.parametrize(
    "data", [b"", b"noise", zlib.compress(b"a" * 100)[:-1], zlib.compress(b"a" * 100) + b"x"]
)
def test_what_zlib_did_not_make_is_refused(data: bytes) -> None:
    assert refused(data, "zlib", 100) == "bad-batch"


def test_an_unknown_codec_is_refused() -> None:
    assert refused(b"a", "zstd", 1) == "bad-batch"
