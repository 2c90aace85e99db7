"""Unpacking of bytes that nobody has vouched for, bounded in depth and in elements.

Bytes alone are no bound: 4 MiB of empty maps become 290 MB of dicts. So elements are counted as
each container is completed, and an array header cannot claim more than `width` places. The C
unpacker does not know our depth; it is looked at afterwards, which is safe because an array that
is nested too deeply is narrow. Data with a wider array is first read through without building
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NoReturn

import msgpack  # type: ignore[import-untyped]

from .errors import WireError
from .limits import Limits

WIDTH = 4096
_NIL = b"\xc0"
SCALARS = frozenset({type(None), bool, int, float, str, bytes})


def unpack_all(data: bytes, count: int, limits: Limits) -> list[Any]:
    """The `count` msgpack objects that `data` is, one after the other, built in one pass.

    Lists, dicts with str keys, and scalars. Their depth is not checked: see `check_depth`.
    Raises WireError bad-frame, also if they are more or fewer.
    """
    if count > limits.elements:
        raise _too_many()
    try:
        return _unpack(data, count, limits, WIDTH)
    except (ValueError, msgpack.UnpackException):
        if len(data) <= WIDTH:
            raise _malformed() from None
    survey(data, limits)
    try:
        return _unpack(data, count, limits, limits.elements)
    except (ValueError, msgpack.UnpackException):
        raise _malformed() from None


def unpack_one(data: bytes, limits: Limits) -> Any:
    """The one msgpack object that `data` is, of checked depth. Raises WireError bad-frame."""
    try:
        [found] = _unpack(data, 1, limits, WIDTH)
    except (ValueError, msgpack.UnpackException):
        raise _malformed() from None
    check_depth(found, limits.depth)
    return found


def second_of_each(data: bytes) -> Iterator[Any]:
    """The second element of each of the arrays of three that `data` is, as long as it is a scalar.

    Nothing else is built, and what is malformed ends it.
    """
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(data) + len(_NIL),
        max_array_len=WIDTH,
        max_map_len=WIDTH,
        list_hook=_refuse_container,
        object_pairs_hook=_refuse_container,
        ext_hook=_refuse_extension,
    )
    unpacker.feed(data)
    with suppress(ValueError, msgpack.UnpackException, WireError):
        while unpacker.read_array_header() == 3:
            unpacker.skip()
            yield unpacker.unpack()
            unpacker.skip()


def check_depth(value: Any, depth: int) -> int:
    """How many elements `value` holds, of all levels.

    Raises WireError bad-frame unless it is made of scalars and `depth` levels at most.
    """
    if type(value) in SCALARS:
        return 0
    if depth == 0:
        raise WireError("bad-frame", "Values are nested too deeply")
    if type(value) is dict:
        value = list(value.values())
    if type(value) is not list:
        raise _malformed()
    if SCALARS.issuperset(map(type, value)):
        return len(value)
    return len(value) + sum(check_depth(item, depth - 1) for item in value)


def _unpack(data: bytes, objects: int, limits: Limits, width: int) -> list[Any]:
    count = _counter(limits.elements)
    next(count)
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(data) + len(_NIL),
        max_array_len=width,
        max_map_len=width,
        list_hook=count.send,
        object_pairs_hook=_pairs(count.send),
        ext_hook=_refuse_extension,
    )
    unpacker.feed(data)
    found = list(islice(unpacker, objects))
    # Only if nothing was left unread or half read does one nil more come out as the next object.
    unpacker.feed(_NIL)
    if len(found) != objects or list(islice(unpacker, 2)) != [None]:
        raise _malformed()
    return found


def _counter(left: int) -> Generator[Any, Any, NoReturn]:
    """Hands back each container that is sent, until `left` elements were seen.

    A generator, because its `send` costs half of a function's call.
    """
    container: Any = ()
    while left >= 0:
        container = yield container
        left -= 1 + len(container)
    raise _too_many()


def _pairs(count: Callable[[Any], Any]) -> Callable[[list[tuple[Any, Any]]], dict[str, Any]]:
    def build(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
        count(pairs)
        built = dict(pairs)
        if len(built) != len(pairs):
            raise WireError("bad-frame", "A map has a key twice")
        if not all(type(key) is str for key in built):
            raise WireError("bad-frame", "A map has a key that is no text")
        return built

    return build


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise WireError("bad-frame", f"The msgpack extension {code} is not part of the protocol")


def _refuse_container(container: Any) -> NoReturn:
    raise _malformed()


def _too_many() -> WireError:
    return WireError("bad-frame", "A frame holds too many elements")


def _malformed() -> WireError:
    return WireError("bad-frame", "Not the msgpack that was expected")


_SIZES = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_LENGTH_SIZES = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_COUNT_SIZES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def survey(data: bytes, limits: Limits) -> None:
    """Read `data` through without building anything.

    Raises WireError bad-frame if it is cut off, nested deeper than `limits.depth` (the list of
    objects itself not counted), or holds more than `limits.elements`.
    """
    position, seen = 0, 0
    open_: list[int] = []
    while position < len(data):
        position, children = _step(data, position)
        seen += 1
        if open_:
            open_[-1] -= 1
        open_.append(children)
        if seen > limits.elements or len(open_) > limits.depth + 1:
            raise WireError("bad-frame", "A frame holds too many elements, or too deep ones")
        while open_ and open_[-1] == 0:
            open_.pop()
    if open_ or position != len(data):
        raise _malformed()


def _step(data: bytes, position: int) -> tuple[int, int]:
    """Where the next object is, and how many children this one has."""
    first = data[position]
    position += 1
    if first < 0x80 or first >= 0xE0:
        return position, 0
    if first < 0xA0:
        return position, (first & 0x0F) * (2 if first < 0x90 else 1)
    if first < 0xC0:
        return position + (first & 0x1F), 0
    if first in _SIZES:
        return position + _SIZES[first], 0
    if first in _LENGTH_SIZES:
        size = _LENGTH_SIZES[first]
        return position + size + int.from_bytes(data[position : position + size]), 0
    if first not in _COUNT_SIZES:
        raise _malformed()
    size, each = _COUNT_SIZES[first]
    return position + size, int.from_bytes(data[position : position + size]) * each
