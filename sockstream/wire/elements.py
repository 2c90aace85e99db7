"""The elements that messages are made of: each type of Python with the check of what came.

A check takes a value and the name of its message, and returns it or raises WireError bad-message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from . import digest
from .errors import WireError
from .records import MAX_SEGMENTS, Segment

MAX_TEXT = 4000
_MAX_TEXTS = 100
_MAX_TAG = 64
_MAX_COUNT = (1 << 63) - 1
_MAX_SECONDS = 1_000_000_000
_MIN_INTERVAL = 0.01
_MAX_INTERVAL = 3600

Check = Callable[[Any, str], Any]


def _bad(name: str, what: str) -> WireError:
    return WireError("bad-message", f"An element of a {name} message is not {what}")


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
    if not _MIN_INTERVAL <= _seconds(value, name) <= _MAX_INTERVAL:
        raise _bad(name, f"an interval of {_MIN_INTERVAL} to {_MAX_INTERVAL} seconds")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise _bad(name, f"a text of at most {MAX_TEXT} characters")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or len(value) > _MAX_TEXTS:
        raise _bad(name, f"a list of at most {_MAX_TEXTS} texts")
    return tuple(_text(item, name) for item in value)


def _octets(value: Any, name: str) -> bytes:
    if type(value) is not bytes:
        raise _bad(name, "binary")
    return value


def _tag(value: Any, name: str) -> bytes:
    if len(_octets(value, name)) > _MAX_TAG:
        raise _bad(name, f"binary of at most {_MAX_TAG} bytes")
    return bytes(value)


def _octets16(value: Any, name: str) -> bytes:
    if len(_octets(value, name)) != digest.SIZE:
        raise _bad(name, f"binary of {digest.SIZE} bytes")
    return bytes(value)


def _octets16_or_none(value: Any, name: str) -> bytes:
    return _octets(value, name) and _octets16(value, name)


def _segments(value: Any, name: str) -> tuple[Segment, ...]:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MAX_SEGMENTS:
        raise _bad(name, f"a list of 1 to {MAX_SEGMENTS} segments")
    return tuple(_segment(item, name) for item in value)


def _segment(value: Any, name: str) -> Segment:
    match value:
        case Segment():
            return value
        case [count, size, *_]:
            return Segment(_positive(count, name), _positive(size, name))
    raise _bad(name, "a segment: records and bytes")


Count = Annotated[int, _count]
Positive = Annotated[int, _positive]
Flag = Annotated[bool, _flag]
Seconds = Annotated[float, _seconds]
Interval = Annotated[float, _interval]
Text = Annotated[str, _text]
Texts = Annotated[Sequence[str], _texts]
Octets = Annotated[bytes, _octets]
Tag = Annotated[bytes, _tag]
Octets16 = Annotated[bytes, _octets16]
Octets16OrNone = Annotated[bytes, _octets16_or_none]
Segments = Annotated[tuple[Segment, ...], _segments]
