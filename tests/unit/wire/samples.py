"""Layouts, batches and messages that the wire's tests share."""

from __future__ import annotations

from sockstream.wire.digest import ZERO
from sockstream.wire.messages import (
    Ack,
    Bye,
    Confirm,
    Error,
    Hello,
    Message,
    Ping,
    Pong,
    Progress,
    Records,
    Refuse,
    Welcome,
)
from sockstream.wire.records import INSERT, Batch, BatchBuilder, Layout

EPOCH = bytes(range(16))
DIGEST = bytes(range(16, 32))
QUESTION = Layout("polls.question", ("id",), ("text", "votes"))
TAG = Layout("polls.tag", ("id",), ())


def batch(
    first_seq: int = 1,
    groups: tuple[int, ...] = (1,),
    *,
    digest: bytes = ZERO,
    open_: bool = False,
    text: str = "What?",
) -> Batch:
    """A batch with so many records in each of its groups; the last one stays open if `open_`."""
    builder = BatchBuilder(first_seq, digest)
    for size in groups:
        for _ in range(size):
            builder.add(INSERT, QUESTION, [first_seq + builder.count, text, None])
        if size is not groups[-1] or not open_:
            builder.end_group()
    return builder.build(open_)


def chain(*sizes: int, text: str = "What?") -> list[Batch]:
    """Batches of one group each, one after the other from 1 on."""
    batches: list[Batch] = []
    for size in sizes:
        last = batches[-1] if batches else None
        first_seq, digest = (last.last_seq + 1, last.digest_after) if last else (1, ZERO)
        batches.append(batch(first_seq, (size,), digest=digest, text=text))
    return batches


def hello(**changes: object) -> Hello:
    """What a site says that holds nothing yet."""
    values: dict[str, object] = {
        "protocol_min": 1,
        "protocol_max": 1,
        "software": "sockstream 1.0",
        "features": (),
        "stream": "default",
        "epoch": EPOCH,
        "parent_epoch": b"",
        "lowest_seq": 1,
        "highest_seq": 0,
        "acked_seq": 0,
        "last_session": 0,
        "instance": b"instance",
        "host_id": b"",
        "frame_limit": 1 << 20,
        "codecs": ("zlib",),
        "schema": b"schema",
        "digest": ZERO,
    }
    return Hello(**(values | changes))  # type: ignore[arg-type]


def welcome(**changes: object) -> Welcome:
    """What central says to a site that it sees for the first time."""
    values: dict[str, object] = {
        "protocol": 1,
        "central": "central",
        "session": 1,
        "offset": 0,
        "digest": ZERO,
        "window": 1 << 20,
        "frame_limit": 1 << 20,
        "codec": "",
        "heartbeat": 10.0,
        "session_deadline": 0.0,
        "schema_verdict": "same",
    }
    return Welcome(**(values | changes))  # type: ignore[arg-type]


MESSAGES: list[Message] = [
    hello(),
    hello(features=("later",), parent_epoch=DIGEST, host_id=b"host", highest_seq=7),
    welcome(),
    welcome(offset=7, staged_seq=9, staged_digest=DIGEST),
    Refuse("epoch-unknown", "Words", "Mend", 0, "", "", "person"),
    Confirm(3, 7, DIGEST),
    Records(batch(4, (2, 3), open_=True)),
    Records(batch(1, (50,)), "zlib"),
    Ack(12, DIGEST, 9_000_000_000),
    Progress(500, 499),
    Progress(500, 0, "db-readonly", "cannot execute UPDATE in a read-only transaction"),
    Ping(1),
    Pong(1),
    Bye("done", 12, 1.5),
    Error("record-refused", "Words", "Mend", 9, "polls.question", "17", "person"),
]
