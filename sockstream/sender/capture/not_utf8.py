"""Captured texts of SQLite that are not UTF-8, as programs of another time left them in a table.

Python cannot read them, and a record cannot hold them. So such a row waits, named, until it was
saved or deleted once more: what its first record says does not matter then, since both are in the
oplog together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import Error

from sockstream.exceptions import LONGEST_NAME, SockstreamError

from .decode import Decoder

CODE = "capture-not-utf8"
_ESCAPED = range(0xDC80, 0xDD00)
_scan = json.JSONDecoder().raw_decode

Later = Callable[[bytes], Iterator[tuple[str, int, bytes]]]
"""Gives the op, the layout and the data of the later captured rows of a model whose data begins
so, in their order."""


def is_told_by(error: Error) -> bool:
    """Whether SQLite's driver met a text that is not UTF-8."""
    return "not decode to UTF-8" in str(error)


def instead_of(op: str, layout: int, data: bytes, decoder: Decoder, later: Later) -> str:
    """A text to take for one that is not UTF-8: that of the row as it was saved later.

    Raises SockstreamError if it was not saved since.
    """
    if op == "D":
        return data.decode(errors="replace")  # such a key was never sent
    escaped = data.decode(errors="surrogateescape")
    for newer_op, newer_layout, newer in later(_key(escaped, decoder)):
        if newer_op == "D":
            return data.decode(errors="replace")
        if newer_layout == layout and _is_utf8(newer):
            return newer.decode()
    raise _refusal(escaped, decoder)


def _key(escaped: str, decoder: Decoder) -> bytes:
    """The bytes of the key's parts, without what is around them."""
    start = end = len(escaped) - len(escaped.lstrip("["))
    for _ in decoder.key_names:
        _, end = _scan(escaped, end + (end > start))
    return escaped[start:end].encode(errors="surrogateescape")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refusal(escaped: str, decoder: Decoder) -> SockstreamError:
    names = decoder.key_names + decoder.other_names
    values = decoder.items("I", escaped)
    found = [
        (name, value)
        for name, value in zip(names, values, strict=False)
        if isinstance(value, str) and any(ord(char) in _ESCAPED for char in value)
    ]
    name, value = found[0] if found else ("?", escaped)
    raw = value.encode(errors="surrogateescape")[:LONGEST_NAME]
    return SockstreamError(
        CODE,
        f"The field {name!r} of {decoder.model} {_shown(values[: len(decoder.key_names)])} "
        f"has a text that is not UTF-8: {raw!r}",
        "Save that row with another text, or delete it; the stream then goes on by itself",
    )


def _shown(key: Sequence[Any]) -> str:
    return ", ".join(str(part)[:LONGEST_NAME] for part in key)
