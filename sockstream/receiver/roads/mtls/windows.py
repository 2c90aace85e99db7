"""How many bytes each link may have on the way, so that all of them together stay bounded."""

from __future__ import annotations

SMALLEST = 64 << 10
_SHARE = 8


class Windows:
    """Hands out windows of up to `largest` bytes, of `total` together.

    The first links get the largest window; later ones an eighth of what is left, and SMALLEST when
    nothing is. So a thousand sites that come back at once are slow, but no danger.
    """

    def __init__(self, largest: int, total: int) -> None:
        self.largest = largest
        self.left = total

    def take(self) -> int:
        """A window for a new link, in bytes."""
        window = max(min(SMALLEST, self.largest), min(self.largest, self.left // _SHARE))
        self.left -= window
        return window

    def give_back(self, window: int) -> None:
        """The link that had `window` is gone."""
        self.left += window
