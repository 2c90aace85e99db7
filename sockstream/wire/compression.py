"""Compression of one batch: level 5, no state across batches, and a declared raw length."""

from __future__ import annotations

import zlib

from .errors import WireError

CODECS = ("zlib",)
# Most of a batch is random keys, which every level passes over as quickly. In the rest, level 1
# finds less, and level 6 takes longer.
_LEVEL = 5


def compress(data: bytes, codec: str) -> tuple[str, bytes]:
    """The codec and the bytes to send: as they are, codec "", if compressing does not pay."""
    if codec == "zlib":
        smaller = zlib.compress(data, _LEVEL)
        if len(smaller) < len(data):
            return codec, smaller
    return "", data


def check(codec: str, raw_length: int, limit: int) -> None:
    """What can be said without decompressing. Raises WireError: decompress-limit or bad-batch."""
    if raw_length > limit:
        raise WireError("decompress-limit", f"A batch says that it is {raw_length} bytes long")
    if codec and codec not in CODECS:
        raise WireError("bad-batch", f"A batch comes in the codec {codec!r}, which is not known")


def decompress(data: bytes, codec: str, raw_length: int, limit: int) -> bytes:
    """`data` as it was; more than `raw_length` bytes are never made.

    Raises WireError: decompress-limit, or bad-batch for another length or an unknown codec.
    """
    check(codec, raw_length, limit)
    raw = _inflate(data, raw_length) if codec else data
    if len(raw) != raw_length:
        raise WireError("bad-batch", f"A batch is not {raw_length} bytes long, as it says")
    return raw


def _inflate(data: bytes, raw_length: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, raw_length)
        # The end of the stream may still have to be read; it holds no bytes of ours.
        more = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise WireError("bad-batch", f"A batch cannot be decompressed: {error}") from None
    if more:
        raise WireError("decompress-limit", f"A batch is longer than the {raw_length} it says")
    if not inflater.eof or inflater.unused_data:
        raise WireError("bad-batch", "A compressed batch does not end where it should")
    return raw
