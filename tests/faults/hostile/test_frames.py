"""Frames that are none: refused by code before anything is kept for them, and nobody is harmed.

Each test's bound is on what central's whole process grows by, at its peak.
"""

from __future__ import annotations

import socket
import struct
import zlib
from contextlib import closing, suppress
from itertools import product

import msgpack  # type: ignore[import-untyped]

from sockstream.wire.digest import ZERO, extend
from sockstream.wire.frames import encode
from sockstream.wire.limits import Limits
from sockstream.wire.messages import pack
from sockstream.wire.records import MAX_RECORDS, encode_header
from tests.faults.hostile.ground import MIB, Ground, until_closed
from tests.integration.receiver.site import SLOT
from tests.unit.wire.samples import MESSAGES

FRAME = Limits().frame
FIRST = Limits().first_frame
GARBAGE = b"\xc1"  # the one byte that msgpack never uses


def answer(ground: Ground, said: bytes, *, welcomed: bool) -> str:
    """Say this with a good certificate, at first or when welcomed; the code of the answer."""
    with closing(ground.site()) as site:
        if welcomed:
            site.connect()
        else:
            site.dial()
            site.session.data_to_send()
        site._outbound = said
        error = site.wait_until_closed()
    assert error is not None
    return error.code


def claim(length: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", length) + body


def bounds(limit: int) -> list[tuple[bytes, str]]:
    """What is said, and what is answered, where frames of `limit` bytes are the longest."""
    return [
        (claim(0), "bad-frame"),
        (claim(1, b"\x00"), "bad-message"),
        (claim(limit, GARBAGE * limit), "bad-frame"),
        (claim(limit + 1), "frame-too-large"),
        (claim(0xFFFFFFFF), "frame-too-large"),
        (claim(0xFFFFFFFF, b"x" * FIRST), "frame-too-large"),
    ]


def test_lengths_before_the_welcome(ground: Ground) -> None:
    with ground.unharmed(8 * MIB):
        for said, code in bounds(FIRST):
            assert answer(ground, said, welcomed=False) == code
        for stray in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-x\r\n"):
            assert answer(ground, stray, welcomed=False) == "frame-too-large"


def test_lengths_after_the_welcome(ground: Ground) -> None:
    """The longest frame is held once as it comes, and once as it is read."""
    with ground.unharmed(2 * FRAME + 32 * MIB):
        for said, code in bounds(FRAME):
            assert answer(ground, said, welcomed=True) == code


BOMBS = {
    "deep": b"\x91" * 100_000,
    "deep maps": b"\x81\xa1k" * 30_000,
    "empty maps": b"\x80" * (4 * MIB),
    "wide empty maps": b"\xdd\x00\x40\x00\x00" + b"\x80" * (4 * MIB),
    "lists of maps": (b"\xdc\x10\x00" + b"\x80" * 4096) * 1024,
    "claims of 4 billion": b"\x9a\x05" + b"\xdd\xff\xff\xff\xff" * 100_000,
    "a map's claim": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a key twice": b"\x92\x08\x82\xa1a\x01\xa1a\x02",
    "a key that is a number": b"\x92\x08\x81\x01\x02",
    "a key that is bytes": b"\x92\x08\x81\xc4\x01a\x02",
    "text that is no text": b"\x92\x08\xa2\xff\xfe",
    "an extension": b"\x92\x08\xd4\x05\x00",
    "a time": b"\x92\x08\xd6\xff\x00\x00\x00\x00",
    "something behind": b"\x92\x08\x01\x01",
    "cut off": b"\x92\x08",
}
NO_MESSAGES = {
    "nothing": b"\x90",
    "a number": b"\x05",
    "an unknown type": b"\x91\x63",
    "a type that is none": b"\x92\xa1x\x01",
    "not a number": msgpack.packb([10, "done", 1, float("nan")]),
    "below zero": msgpack.packb([8, -1]),
    "too few": msgpack.packb([8]),
    "of another type": msgpack.packb([8, "one"]),
}


def test_bombs(ground: Ground) -> None:
    """Elements and depth are bounded, not only bytes: four of them can become hundreds."""
    with ground.unharmed(112 * MIB):
        for name, body in BOMBS.items():
            assert (name, answer(ground, encode(body), welcomed=True)) == (name, "bad-frame")
        for name, body in NO_MESSAGES.items():
            assert (name, answer(ground, encode(body), welcomed=True)) == (name, "bad-message")


def test_bombs_before_the_welcome(ground: Ground) -> None:
    with ground.unharmed(16 * MIB):
        for name, body in BOMBS.items():
            said = encode(body[:FIRST])
            assert (name, answer(ground, said, welcomed=False)) == (name, "bad-frame")


def test_messages_out_of_turn(ground: Ground) -> None:
    """Whatever is not in the table of states ends the link, and nothing else."""
    with ground.unharmed(16 * MIB):
        for message in MESSAGES[2:]:  # the first two are hellos
            code = answer(ground, pack(message), welcomed=False)
            assert code == "bad-state", message


def records(data: bytes, codec: str, raw_length: int, raw: bytes = b"", count: int = 1) -> bytes:
    """A records message about `raw_length` bytes, whatever `data` really is."""
    header = encode_header((SLOT,))
    after = extend(ZERO, header, raw)
    body = [5, 1, [[count, raw_length]], False, header, ZERO, after, codec, raw_length, data, False]
    return encode(msgpack.packb(body))


def zeros(size: int) -> bytes:
    """So many zeros, compressed as far as zlib goes (1:1028)."""
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, packer.flush()])


def test_decompression_bombs(ground: Ground) -> None:
    """What a batch says is the most that is made of it, and no more than a frame may hold."""
    huge = zeros(256 * MIB)
    assert len(huge) < MIB
    with ground.unharmed(3 * FRAME + 24 * MIB):
        for said, code in (
            (records(huge, "zlib", 256 * MIB), "decompress-limit"),
            (records(huge, "zlib", FRAME + 1), "decompress-limit"),
            (records(huge, "zlib", FRAME), "decompress-limit"),
            (records(huge, "zlib", 1000), "decompress-limit"),
            (records(zeros(FRAME), "zlib", FRAME), "digest-mismatch"),
            (records(huge[: len(huge) // 2], "zlib", 1000), "decompress-limit"),
            (records(b"x" * 100, "zlib", 1000), "bad-batch"),
            (records(huge, "zstd", 1000), "bad-batch"),
        ):
            assert answer(ground, said, welcomed=True) == code


def test_bombs_among_the_records(ground: Ground) -> None:
    """Unpacked not by the link but by the applier, and bounded there too."""
    with ground.unharmed(3 * FRAME + 24 * MIB):
        for bomb, count in product((b"\x80", b"\x90", b"\x91"), (1, 4096, MAX_RECORDS, FRAME)):
            raw = bomb * FRAME
            said = records(zlib.compress(raw, 1), "zlib", FRAME, raw, count)
            code = answer(ground, said, welcomed=True)
            assert code in ({"bad-frame", "bad-record"} if count < FRAME else {"bad-batch"})


STRANGERS = [
    b"GET / HTTP/1.1\r\nHost: central\r\n\r\n",
    b"\xff" * (4 * MIB),
    b"\x16\x03\x01\xff\xff" + b"\x01" * (4 * MIB),
    # The start of a real client hello, which says that 16 MiB follow.
    b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + bytes(4 * MIB),
]


def test_strangers(ground: Ground) -> None:
    """Who has no certificate gets nowhere near a frame."""
    with ground.unharmed(8 * MIB):
        for said in 10 * STRANGERS:
            with ground.dial() as plain, suppress(ConnectionError):
                plain.sendall(said)
                plain.shutdown(socket.SHUT_WR)
                until_closed(plain)
