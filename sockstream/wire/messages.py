"""The messages: frozen dataclasses, and their strict and bounded way to bytes and back.

A message is a msgpack array, the number of its type first. Elements may be appended by a later
version: unknown trailing ones are ignored. Everything else that is not as said is a WireError.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgpack  # type: ignore[import-untyped]

from . import digest, frames
from .bounded import unpack_one
from .errors import Class, WireError
from .limits import DEFAULT, Limits
from .records import MAX_SEGMENTS, Batch, Segment

CODECS = ("zlib",)
_COMPRESSION_LEVEL = 1
_MAX_COUNT = (1 << 63) - 1
_MAX_TEXT = 4000
_MAX_SECONDS = 1e9


@dataclass(frozen=True, slots=True)
class Hello:
    """What the site is and holds. `lowest_seq` > `highest_seq`: the oplog holds nothing.

    `instance` is random per start, `host_id` is kept outside the database, `digest` is the one at
    `highest_seq`, `schema` the fingerprint of the captured models.
    """

    protocol_min: int
    protocol_max: int
    software: str
    features: Sequence[str]
    stream: str
    epoch: bytes
    parent_epoch: bytes
    lowest_seq: int
    highest_seq: int
    acked_seq: int
    last_session: int
    instance: bytes
    host_id: bytes
    frame_limit: int
    codecs: Sequence[str]
    schema: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Welcome:
    """Central knows the stream: it stands at `offset`, whose digest is `digest`.

    `window` is the first credit in bytes, `session_deadline` the seconds from now that this
    session may last, 0 for no end.
    """

    protocol: int
    central: str
    session: int
    offset: int
    digest: bytes
    window: int
    frame_limit: int
    codec: str
    heartbeat: float
    session_deadline: float
    schema_verdict: str


@dataclass(frozen=True, slots=True)
class _Trouble:
    code: str
    words: str
    mend: str
    seq: int
    model: str = ""
    key: str = ""
    class_: str = ""

    @property
    def error(self) -> WireError:
        """As something to raise. A code and a class nobody here knows mean: connect again."""
        try:
            class_ = Class(self.class_)
        except ValueError:
            class_ = Class.RECONNECT
        return WireError(
            self.code,
            self.words,
            self.mend,
            self.seq,
            model=self.model,
            key=self.key,
            class_=class_,
        )


def _trouble(error: WireError) -> tuple[str, str, str, int, str, str, str]:
    return (
        error.code,
        _shortened(error.words),
        _shortened(error.mend),
        error.seq,
        error.model,
        _shortened(error.key),
        str(error.class_),
    )


def _shortened(text: str) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MAX_TEXT else clean[: _MAX_TEXT - 3] + "..."


@dataclass(frozen=True, slots=True)
class Refuse(_Trouble):
    """Central will not talk with this site; it closes."""

    @classmethod
    def of(cls, error: WireError) -> Refuse:
        return cls(*_trouble(error))


@dataclass(frozen=True, slots=True)
class Error(_Trouble):
    """Something went wrong; who sent it closes."""

    @classmethod
    def of(cls, error: WireError) -> Error:
        return cls(*_trouble(error))


@dataclass(frozen=True, slots=True)
class Confirm:
    """The site has stored the session and compared the digest at the offset, which is `digest`.

    It will send from `first_seq` on.
    """

    session: int
    first_seq: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """One batch. Packed with `codec` if that makes it smaller; unpacked it is as it was."""

    batch: Batch
    codec: str = ""

    @property
    def raw_length(self) -> int:
        """The bytes of the records before compression."""
        return len(self.batch.data)


@dataclass(frozen=True, slots=True)
class Ack:
    """Central has committed everything up to `offset`.

    `credit`: the bytes that it has granted since the session began, all added up.
    """

    offset: int
    digest: bytes
    credit: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Central is alive and has applied `applied` records of an open transaction, up to `seq`."""

    seq: int
    applied: int


@dataclass(frozen=True, slots=True)
class Ping:
    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the ping with the same token."""

    token: int


@dataclass(frozen=True, slots=True)
class Bye:
    """The end, in peace. What is in flight is still acked.

    `last_seq`: the last one that the site has sent, or that central will apply. `retry_after`:
    the seconds after which to come back.
    """

    reason: str
    last_seq: int
    retry_after: float


Message = Hello | Welcome | Refuse | Confirm | Records | Ack | Progress | Ping | Pong | Bye | Error


def pack(message: Message) -> bytes:
    """The frame of a message. Raises WireError bad-message for a value outside its limits."""
    return frames.encode(_packed(message))


def unpack(body: bytes, limits: Limits = DEFAULT) -> Message:
    """The message that the body of a frame is.

    Raises WireError: bad-frame, bad-message, bad-batch or decompress-limit.
    """
    elements = unpack_one(body, limits)
    if type(elements) is not list or not elements or type(elements[0]) is not int:
        raise WireError("bad-message", "A message is not an array that begins with its type")
    kind = _KINDS.get(elements[0])
    if kind is None:
        raise WireError("bad-message", f"The message type {elements[0]} is not known")
    if kind is Records:
        return _records(_checked(_RECORDS, "records", elements[1:]), limits)
    made: Message = kind(*_checked(_ELEMENTS[kind], kind.__name__.lower(), elements[1:]))
    return made


def _packed(message: Message) -> bytes:
    kind = type(message)
    if isinstance(message, Records):
        values = _record_elements(message)
    else:
        checks = _ELEMENTS[kind]
        given = [_wire_value(getattr(message, field.name)) for field in fields(message)]
        values = _checked(checks, kind.__name__.lower(), given)
    packed: bytes = msgpack.packb([_TYPES[kind], *values])
    return packed


def _wire_value(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _checked(checks: Sequence[_Check], name: str, values: list[Any]) -> list[Any]:
    if len(values) < len(checks):
        raise WireError("bad-message", f"A {name} message has only {len(values)} elements")
    return [check(value, name) for check, value in zip(checks, values, strict=False)]


def _bad(name: str, what: str) -> WireError:
    return WireError("bad-message", f"An element of a {name} message is not {what}")


_Check = Callable[[Any, str], Any]


def _count(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise _bad(name, "a count")
    return value


def _positive(value: Any, name: str) -> int:
    if _count(value, name) == 0:
        raise _bad(name, "a count above zero")
    return int(value)


def _flag(value: Any, name: str) -> bool:
    if type(value) is not bool:
        raise _bad(name, "true or false")
    return value


def _seconds(value: Any, name: str) -> float:
    if type(value) not in {int, float} or not 0 <= value <= _MAX_SECONDS:
        raise _bad(name, "a number of seconds")
    return float(value)


def _interval(value: Any, name: str) -> float:
    if math.isclose(_seconds(value, name), 0, abs_tol=0.001):
        raise _bad(name, "an interval above a millisecond")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise _bad(name, f"a text of at most {_MAX_TEXT} characters")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if type(value) is not list or len(value) > 100:
        raise _bad(name, "a list of at most 100 texts")
    return tuple(_text(item, name) for item in value)


def _octets(value: Any, name: str) -> bytes:
    if type(value) is not bytes:
        raise _bad(name, "binary")
    return value


def _tag(value: Any, name: str) -> bytes:
    if len(_octets(value, name)) > 64:
        raise _bad(name, "at most 64 bytes")
    return bytes(value)


def _octets16(value: Any, name: str) -> bytes:
    if len(_octets(value, name)) != digest.SIZE:
        raise _bad(name, f"{digest.SIZE} bytes")
    return bytes(value)


def _octets16_or_none(value: Any, name: str) -> bytes:
    return _octets(value, name) and _octets16(value, name)


def _segments(value: Any, name: str) -> tuple[Segment, ...]:
    if type(value) is not list or not 0 < len(value) <= MAX_SEGMENTS:
        raise _bad(name, f"a list of 1 to {MAX_SEGMENTS} segments")
    return tuple(_segment(item, name) for item in value)


def _segment(value: Any, name: str) -> Segment:
    match value:
        case [count, size, *_]:
            return Segment(_positive(count, name), _positive(size, name))
    raise _bad(name, "a segment: records and bytes")


_TROUBLE = (_text, _text, _text, _count, _text, _text, _text)
_ELEMENTS: dict[type, tuple[_Check, ...]] = {
    Hello: (
        _positive, _positive, _text, _texts, _text, _octets16, _octets16_or_none, _positive,
        _count, _count, _count, _tag, _tag, _positive, _texts, _tag, _octets16,
    ),
    Welcome: (
        _positive, _text, _positive, _count, _octets16, _positive, _positive, _text, _interval,
        _seconds, _text,
    ),
    Refuse: _TROUBLE,
    Confirm: (_positive, _positive, _octets16),
    Ack: (_count, _octets16, _count),
    Progress: (_count, _count),
    Ping: (_count,),
    Pong: (_count,),
    Bye: (_text, _count, _seconds),
    Error: _TROUBLE,
}  # fmt: skip
_RECORDS: tuple[_Check, ...] = (
    _positive, _segments, _flag, _octets, _octets16, _octets16, _text, _positive, _octets,
)  # fmt: skip
_KINDS: dict[int, Any] = {
    1: Hello, 2: Welcome, 3: Refuse, 4: Confirm, 5: Records, 6: Ack, 7: Progress, 8: Ping,
    9: Pong, 10: Bye, 11: Error,
}  # fmt: skip
_TYPES = {kind: number for number, kind in _KINDS.items()}


def _record_elements(message: Records) -> list[Any]:
    batch = message.batch
    codec, data = _compressed(batch.data, message.codec)
    return [
        batch.first_seq,
        [[segment.count, segment.size] for segment in batch.segments],
        batch.open,
        batch.header,
        batch.digest_before,
        batch.digest_after,
        codec,
        len(batch.data),
        data,
    ]


def _compressed(data: bytes, codec: str) -> tuple[str, bytes]:
    if codec == "zlib":
        smaller = zlib.compress(data, _COMPRESSION_LEVEL)
        if len(smaller) < len(data):
            return codec, smaller
    return "", data


def _records(values: list[Any], limits: Limits) -> Records:
    first_seq, segments, open_, header, before, after, codec, raw_length, data = values
    if sum(segment.size for segment in segments) != raw_length:
        raise WireError("bad-batch", "The segments of a batch do not add up", seq=first_seq)
    raw = _decompressed(data, codec, raw_length, limits)
    return Records(Batch(first_seq, segments, open_, header, raw, before, after), codec)


def _decompressed(data: bytes, codec: str, raw_length: int, limits: Limits) -> bytes:
    """`data` as it was; never more than `raw_length` bytes are made."""
    if raw_length > limits.frame:
        raise WireError("decompress-limit", f"A batch says that it is {raw_length} bytes long")
    if codec == "":
        raw = data
    elif codec == "zlib":
        raw = _inflated(data, raw_length)
    else:
        raise WireError("bad-batch", f"A batch comes in the codec {codec!r}, which is not known")
    if len(raw) != raw_length:
        raise WireError("bad-batch", f"A batch is not {raw_length} bytes long, as it says")
    return raw


def _inflated(data: bytes, raw_length: int) -> bytes:
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
