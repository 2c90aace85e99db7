"""Where fuzzing begins: what real peers say, as the targets read it.

`python -m tests.fuzz --seeds` writes them into the corpus again, for instance after the protocol
has changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgpack  # type: ignore[import-untyped]

from sockstream.wire.digest import ZERO
from sockstream.wire.messages import (
    Ack,
    Bye,
    Confirm,
    Error,
    Message,
    Ping,
    Pong,
    Progress,
    Records,
    Refuse,
    pack,
)

from .samples import DIGEST, MESSAGES, hello, welcome
from .targets import BATCHES, CENTRAL_STATES, LIMITS, SITE_STATES

FEED, TICK, ANSWER, WORK, LEAVE = 0, 3, 4, 5, 6


def feed(*said: Message) -> bytes:
    """The step that hands over these messages at once."""
    data = b"".join(map(pack, said))
    return bytes([FEED]) + len(data).to_bytes(2) + data


def from_each(states: tuple[object, ...], steps: bytes) -> Iterator[bytes]:
    return (bytes([number]) + steps for number in range(len(states)))


def _receiving() -> Iterator[bytes]:
    answer, work, tick = bytes([ANSWER]), bytes([WORK]), bytes([TICK, 40])
    sent = [feed(Records(batch, codec)) for batch, codec in zip(BATCHES, ["", "zlib"] * 2)]  # noqa: B905
    shake = feed(hello(highest_seq=10)) + answer + feed(Confirm(1, 1, ZERO))
    yield b"\0" + shake + b"".join(step + work for step in sent) + feed(Bye("done", 10, 0)) + tick
    yield b"\0" + shake + sent[0] + sent[0] + sent[2] + bytes([LEAVE, 2]) + work
    error = Error("record-refused", "Words", "Mend", 9, "polls.tag", "17", "person")
    for last in (sent[0], sent[1], feed(Ping(1), Pong(1)), feed(error), feed(Bye("done", 2, 0))):
        yield from from_each(CENTRAL_STATES, last + work + tick + last)


def _sending() -> Iterator[bytes]:
    confirm, send, tick = bytes([ANSWER]), bytes([WORK]), bytes([TICK, 40])
    greeting = welcome(window=LIMITS.window, frame_limit=LIMITS.frame)
    acks = [
        Ack(batch.last_seq, batch.digest_after, LIMITS.window + batch.size) for batch in BATCHES
    ]
    shake = feed(greeting) + confirm + send
    yield b"\0" + shake + b"".join(feed(ack) + send for ack in acks) + bytes([LEAVE]) + tick
    yield b"\0" + feed(Refuse("epoch-unknown", "Words", "Mend", 0, "", "", "person"))
    for last in (feed(acks[1]), feed(acks[0], acks[1]), feed(Progress(1, 1)), feed(Ping(1))):
        yield from from_each(SITE_STATES, last + tick + last)
    yield from from_each(SITE_STATES, feed(Bye("shutdown", 2, 1.5)) + feed(acks[0]))
    yield from from_each(SITE_STATES, feed(Ack(2, DIGEST, 1)))


def _records() -> Iterator[bytes]:
    for batch in BATCHES:
        for codec, data in ((0, batch.data), (1, zlib.compress(batch.data, 1))):
            sizes = len(batch.data).to_bytes(2) + batch.count.to_bytes(2)
            yield bytes([codec]) + sizes + bytes([len(batch.header)]) + batch.header + data
    bomb = zlib.compress(bytes(1 << 20), 9)
    yield b"\1\xff\xff\0\1\0" + bomb


def _bounded() -> Iterator[bytes]:
    yield from (pack(message)[4:] for message in MESSAGES if not isinstance(message, Records))
    values: list[object] = [
        {"a": [1, {"b": b"x"}]},
        [[[[]]]],
        [1.5, -1, 1 << 40, "é", None, True],
        {},
    ]
    yield from map(msgpack.packb, values)
    yield b"\x03" + msgpack.packb([1, 2]) * 3
    yield b"\xdd\x00\x00\x00\x02\x80\x80"
    yield b"\x91" * 64


def _frames() -> Iterator[bytes]:
    bodies = [b"\0\0\0\1x", b"\0\0\0\3abc", b"\0\0\1\x2c" + bytes(300)]
    yield from (bytes([size]) + b"".join(bodies) for size in (0, 1, 6, 255))
    yield from (b"\2" + bodies[0] + wrong for wrong in (b"\0\0\0\0", b"\0\0\1\x2d", b"\xff" * 4))


def seeds() -> dict[str, list[bytes]]:
    """For each target what it begins with."""
    return {
        "frames": list(_frames()),
        "bounded": list(_bounded()),
        "messages": [pack(message)[4:] for message in MESSAGES],
        "records": list(_records()),
        "receiving": list(_receiving()),
        "sending": list(_sending()),
    }
