"""Frames: a 4-byte big-endian length, then that many bytes."""

from __future__ import annotations

import struct

from .errors import WireError

_LENGTH = struct.Struct(">I")
LENGTH_SIZE = _LENGTH.size


def encode(body: bytes) -> bytes:
    """The frame that holds `body`, which is not empty and shorter than 4 GiB."""
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into bodies of at most `limit` bytes, however the bytes arrive.

    A length is looked at before anything is kept for it, so a peer that says 4 GiB is refused
    after four bytes. `limit` may be changed between two frames.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that `data` completes. Raises WireError as `next` does."""
        self.push(data)
        bodies = []
        while (body := self.next()) is not None:
            bodies.append(body)
        return bodies

    def push(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next body, or None if it is not complete.

        Raises WireError: frame-too-large, or bad-frame for an empty one.
        """
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        self._check(length)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        with memoryview(self._buffer) as view:
            body = bytes(view[_LENGTH.size : end])
        del self._buffer[:end]
        return body

    def _check(self, length: int) -> None:
        if length == 0:
            raise WireError("bad-frame", "A frame is empty")
        if length > self.limit:
            raise WireError(
                "frame-too-large",
                f"A frame of {length} bytes was announced, {self.limit} are allowed",
                "If the peer is a sockstream, raise MAX_FRAME at both ends",
            )

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._buffer)
