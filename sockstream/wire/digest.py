"""The running digest of a stream, and the position that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

SIZE = 16
ZERO = bytes(SIZE)


def extend(digest: bytes, header: bytes, segment: bytes) -> bytes:
    """The digest after a segment: BLAKE2b-128 of the one before it, the header and the records.

    `header` is the encoded header of the batch. It ends by itself, so that no byte of it can be
    taken for one of the records.
    """
    hashed = blake2b(digest, digest_size=SIZE)
    hashed.update(header)
    hashed.update(segment)
    return hashed.digest()


@dataclass(frozen=True, slots=True)
class Position:
    """A point in the life of a stream: two ends at the same position hold the same history."""

    epoch: bytes
    seq: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.epoch.hex()[:8]}:{self.seq}:{self.digest.hex()[:8]}"
