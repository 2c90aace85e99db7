"""How much there may be: of connections, of strangers among them, and of bytes on the way."""

from __future__ import annotations

import resource
from collections.abc import Hashable
from typing import Generic, TypeVar

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError

SMALLEST_WINDOW = 64 << 10
_SHARE = 8

# For the databases' connections, the listening sockets, and files that are read meanwhile.
_OTHER_FILES = 64

C = TypeVar("C", bound=Hashable)


class Admission(Generic[C]):
    """Knows every connection, and in the order of their coming those that have not said hello.

    When too many of these wait, the oldest gives way. A site is through in a moment, so it is
    seldom that one: nobody can keep the sites out by holding all places without a certificate.
    """

    def __init__(self, settings: Settings) -> None:
        self._places = min(settings.CONNECTIONS, _allow_files(settings.CONNECTIONS))
        self._handshakes = min(settings.HANDSHAKES, self._places)
        self._all: set[C] = set()
        self._strangers: dict[C, None] = {}
        self._closed = False

    @property
    def all(self) -> list[C]:
        """The connections that there are now."""
        return list(self._all)

    def enter(self, connection: C) -> C | None:
        """Let one more in. Returns the stranger that has to go for it, if one has.

        Raises SockstreamError: too-many-connections, or busy once it is closed.
        """
        if self._closed:
            raise SockstreamError("busy", "Central is stopping", "The site comes back by itself")
        full = len(self._all) >= self._places
        gives_way = None
        if self._strangers and (full or len(self._strangers) >= self._handshakes):
            gives_way = next(iter(self._strangers))
            self.forget(gives_way)
        elif full:
            raise SockstreamError(
                "too-many-connections",
                f"There are {len(self._all)} connections already",
                'Raise SOCKSTREAM["CONNECTIONS"] and the limit of open files if all are sites',
            )
        self._all.add(connection)
        self._strangers[connection] = None
        return gives_way

    def know(self, connection: C) -> None:
        """It has said hello."""
        self._strangers.pop(connection, None)

    def forget(self, connection: C) -> None:
        """It is closed."""
        self._strangers.pop(connection, None)
        self._all.discard(connection)

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True


class Windows:
    """Hands out windows of up to `largest` bytes, of `total` together.

    The first links get the largest window; later ones an eighth of what is left, and the smallest
    when nothing is. So a thousand sites that come back at once are slow, but no danger.
    """

    def __init__(self, largest: int, total: int) -> None:
        self.largest = largest
        self.left = total

    def take(self) -> int:
        """A window for a new link, in bytes."""
        window = max(min(SMALLEST_WINDOW, self.largest), min(self.largest, self.left // _SHARE))
        self.left -= window
        return window

    def give_back(self, window: int) -> None:
        """The link that had `window` is gone."""
        self.left += window


def _allow_files(connections: int) -> int:
    """Raise this process's limit of open files as far as needed; how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, allowed - _OTHER_FILES)
