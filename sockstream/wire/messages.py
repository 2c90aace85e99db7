"""The messages: frozen dataclasses, and their strict and bounded way to bytes and back.

A message is a msgpack array, the number of its type first. Elements may be appended by a later
version: unknown trailing ones are ignored, and those of _APPENDED may be missing. Everything else
that is not as said is a WireError.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, Self, get_type_hints

import msgpack  # type: ignore[import-untyped]

from sockstream.exceptions import printable

from . import compression, frames
from .bounded import unpack_one
from .digest import ZERO
from .elements import (
    Check,
    Count,
    Flag,
    Interval,
    Octets,
    Octets16,
    Octets16OrNone,
    Positive,
    Seconds,
    Segments,
    Tag,
    Text,
    Texts,
)
from .errors import Class, WireError
from .limits import DEFAULT, Limits
from .records import MAX_RECORDS, Batch

_LONGEST_WORDS = 1_000
MAX_SHORT = 64
"""The most bytes of a ping or a pong: they may come at any time, and cost the other peers' time."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the site is and holds. `lowest_seq` > `highest_seq`: the oplog holds nothing.

    `instance` is random per start, `host_id` is kept outside the database, `digest` is the one at
    `highest_seq`, `schema` the fingerprint of the captured models, `forwards` the ids of the
    centrals whose rows the stream may hold.
    """

    protocol_min: Positive
    protocol_max: Positive
    software: Text
    features: Texts
    stream: Text
    epoch: Octets16
    parent_epoch: Octets16OrNone
    lowest_seq: Positive
    highest_seq: Count
    acked_seq: Count
    last_session: Count
    instance: Tag
    host_id: Tag
    frame_limit: Positive
    codecs: Texts
    schema: Tag
    digest: Octets16
    forwards: Texts = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """Central knows the stream: it stands at `offset`, whose digest is `digest`.

    `window` is the first credit in bytes, `session_deadline` the seconds from now that this
    session may last, 0 for no end. `staged_seq` is the last record that central keeps of a group
    that has not ended yet, 0 if none, and `staged_digest` the digest there.
    """

    protocol: Positive
    central: Text
    session: Positive
    offset: Count
    digest: Octets16
    window: Positive
    frame_limit: Positive
    codec: Text
    heartbeat: Interval
    session_deadline: Seconds
    schema_verdict: Text
    staged_seq: Count = 0
    staged_digest: Octets16 = ZERO


@dataclass(frozen=True, slots=True)
class _Trouble:
    code: Text
    words: Text
    mend: Text
    seq: Count
    model: Text = ""
    key: Text = ""
    class_: Text = ""

    @classmethod
    def of(cls, error: WireError) -> Self:
        """The message that tells of `error`."""
        words = error.code, error.words, error.mend
        return cls(*words, error.seq, error.model, error.key, str(error.class_))

    @property
    def error(self) -> WireError:
        """As something to raise, its texts cut: they are the peer's, and WireError makes them
        printable. A code and a class nobody here knows mean: connect again.
        """
        try:
            class_ = Class(self.class_)
        except ValueError:
            class_ = Class.RECONNECT
        return WireError(
            self.code,
            printable(self.words, _LONGEST_WORDS),
            printable(self.mend, _LONGEST_WORDS),
            self.seq,
            model=self.model,
            key=self.key,
            class_=class_,
        )


@dataclass(frozen=True, slots=True)
class Refuse(_Trouble):
    """Central will not talk with this site; it closes."""


@dataclass(frozen=True, slots=True)
class Error(_Trouble):
    """Something went wrong; who sent it closes."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The site has stored the session, and will send from `first_seq` on.

    `digest` is its own before that record, which it has compared with central's.
    """

    session: Positive
    first_seq: Positive
    digest: Octets16


@dataclass(frozen=True, slots=True)
class Records:
    """One batch. Packed with `codec` if that makes it smaller; what came packed stays so."""

    batch: Batch
    codec: Text = ""

    @property
    def raw_length(self) -> int:
        """The bytes of the records before compression."""
        return self.batch.raw_length


@dataclass(frozen=True, slots=True)
class Ack:
    """Central has committed everything up to `offset`.

    `credit`: the bytes that it has granted since the session began, all added up.
    """

    offset: Count
    digest: Octets16
    credit: Count


@dataclass(frozen=True, slots=True)
class Progress:
    """Central is alive: beyond the last ack it keeps `applied` records, up to `seq`.

    `code` and `words` say why its database refuses for now, "" if it does not.
    """

    seq: Count
    applied: Count
    code: Text = ""
    words: Text = ""


@dataclass(frozen=True, slots=True)
class Ping:
    token: Count


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the ping with the same token."""

    token: Count


@dataclass(frozen=True, slots=True)
class Bye:
    """The end, in peace. What is in flight is still acked.

    `last_seq`: the last one that the site has sent, or that central will apply. `retry_after`:
    the seconds after which to come back.
    """

    reason: Text
    last_seq: Count
    retry_after: Seconds


Message = Hello | Welcome | Refuse | Confirm | Records | Ack | Progress | Ping | Pong | Bye | Error


def pack(message: Message) -> bytes:
    """The frame of a message. Raises WireError bad-message for a value outside its limits."""
    return frames.encode(_packed(message))


def unpack(body: bytes, limits: Limits = DEFAULT) -> Message:
    """The message that the body of a frame is.

    Raises WireError: bad-frame, bad-message, bad-batch or decompress-limit.
    """
    found = unpack_one(body, limits)
    if type(found) is not list or not found or type(found[0]) is not int:
        raise WireError("bad-message", "A message is not an array that begins with its type")
    kind = _KINDS.get(found[0])
    if kind is None:
        raise WireError("bad-message", f"The message type {found[0]} is not known")
    if kind in _SHORT and len(body) > MAX_SHORT:
        words = f"A {kind.__name__.lower()} message is longer than {MAX_SHORT} bytes"
        raise WireError("bad-message", words)
    values = _checked(kind, found[1:])
    if kind is Records:
        return _records(_RecordElements(*values), limits)
    made: Message = kind(*values)
    return made


def _packed(message: Message) -> bytes:
    kind = type(message)
    source = _record_elements(message) if isinstance(message, Records) else message
    values = [getattr(source, field.name) for field in fields(source)]
    packed: bytes = msgpack.packb([_TYPES[kind], *_checked(kind, values)], default=astuple)
    return packed


def _checked(kind: type, values: list[Any]) -> list[Any]:
    name, checks = kind.__name__.lower(), _CHECKS[kind]
    if len(values) < len(checks) - _APPENDED.get(kind, 0):
        raise WireError("bad-message", f"A {name} message has only {len(values)} elements")
    return [check(value, name) for check, value in zip(checks, values, strict=False)]


@dataclass(frozen=True, slots=True)
class _RecordElements:
    """A Records message as it is on the wire."""

    first_seq: Positive
    segments: Segments
    open: Flag
    header: Octets
    digest_before: Octets16
    digest_after: Octets16
    codec: Text
    raw_length: Positive
    data: Octets
    cut: Flag


def _record_elements(message: Records) -> _RecordElements:
    batch = message.batch
    codec, data = batch.codec, batch.data
    if not codec:
        codec, data = compression.compress(data, message.codec)
    return _RecordElements(
        batch.first_seq,
        batch.segments,
        batch.open,
        batch.header,
        batch.digest_before,
        batch.digest_after,
        codec,
        message.raw_length,
        data,
        batch.cut,
    )


def _records(found: _RecordElements, limits: Limits) -> Records:
    if sum(segment.size for segment in found.segments) != found.raw_length:
        raise WireError("bad-batch", "The segments of a batch do not add up", seq=found.first_seq)
    if sum(segment.count for segment in found.segments) > MAX_RECORDS:
        words = f"A batch has more than {MAX_RECORDS} records"
        raise WireError("bad-batch", words, seq=found.first_seq)
    compression.check(found.codec, found.raw_length, limits.frame)
    batch = Batch(
        found.first_seq,
        found.segments,
        found.open,
        found.header,
        found.data,
        found.digest_before,
        found.digest_after,
        found.cut,
        found.codec,
    )
    return Records(batch, found.codec)


def _checks(kind: type) -> tuple[Check, ...]:
    """The check that each element's type is annotated with, in the order of the elements."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(hints[field.name].__metadata__[0] for field in fields(kind))


_KINDS: dict[int, Any] = {
    1: Hello,
    2: Welcome,
    3: Refuse,
    4: Confirm,
    5: Records,
    6: Ack,
    7: Progress,
    8: Ping,
    9: Pong,
    10: Bye,
    11: Error,
}
_SHORT = (Ping, Pong)
_TYPES = {kind: number for number, kind in _KINDS.items()}
# How many of the last elements an older version of the same protocol does not send.
_APPENDED: dict[type, int] = {Welcome: 2, Progress: 2}
_CHECKS = {kind: _checks(_RecordElements if kind is Records else kind) for kind in _KINDS.values()}
