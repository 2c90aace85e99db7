"""How much a peer may ask of this end. Sizes are bytes, times are seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Each has a default that suits a link between two servers.

    `depth` and `elements` bound what one unpacking may build, since four bytes of msgpack can
    become hundreds in memory. `beats` heartbeats without a byte make a peer dead. `answers` is how
    many messages that ask for an answer a peer may send between two heartbeats.
    """

    frame: int = 16 << 20
    first_frame: int = 64 << 10
    window: int = 8 << 20
    heartbeat: float = 10.0
    beats: int = 3
    handshake: float = 10.0
    drain: float = 30.0
    depth: int = 16
    elements: int = 1 << 20
    answers: int = 100

    @property
    def silence(self) -> float:
        """After how many seconds without a byte a peer is taken for dead."""
        return self.beats * self.heartbeat


DEFAULT = Limits()
