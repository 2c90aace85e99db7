"""How many connections there may be: in all, and of those that have not said who they are."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError

if TYPE_CHECKING:
    from .connection import Connection

# For the databases' connections, the listening sockets, and files that are read meanwhile.
_OTHER_FILES = 64


class Admission:
    """Knows every connection, and in the order of their coming those that have not said hello.

    When too many of these wait, the oldest gives way. A site is through in a moment, so it is
    seldom that one: nobody can keep the sites out by holding all places without a certificate.
    """

    def __init__(self, settings: Settings) -> None:
        self._places = min(settings.CONNECTIONS, _allow_files(settings.CONNECTIONS))
        self._handshakes = min(settings.HANDSHAKES, self._places)
        self._all: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}

    @property
    def all(self) -> list[Connection]:
        """The connections that there are now."""
        return list(self._all)

    def enter(self, connection: Connection) -> Connection | None:
        """Let one more in. Returns the stranger that has to go for it, if one has.

        Raises SockstreamError too-many-connections.
        """
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

    def know(self, connection: Connection) -> None:
        """It has said hello."""
        self._strangers.pop(connection, None)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._strangers.pop(connection, None)
        self._all.discard(connection)


def _allow_files(connections: int) -> int:
    """Raise this process's limit of open files as far as needed; how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, allowed - _OTHER_FILES)
