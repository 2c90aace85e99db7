"""A connection that is being made in a thread, so that the site goes on numbering meanwhile.

An address that swallows packets answers after CONNECT_TIMEOUT, and a name server may take longer.
"""

from __future__ import annotations

import socket
import threading
from typing import Self

from .road import Road


class Dialing:
    """Connects a road. Wait for `fileno()` to become readable; then `over` is true.

    Left before that, it closes what it may still come to.
    """

    def __init__(self, road: Road) -> None:
        self.over = False
        self._road = road
        self._error: Exception | None = None
        self._left = False
        self._lock = threading.Lock()
        self._ours, self._theirs = socket.socketpair()

    def __enter__(self) -> Self:
        threading.Thread(target=self._connect, name="sockstream-dialing", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._left = True
            self._ours.close()
            self._theirs.close()

    def fileno(self) -> int:
        return self._ours.fileno()

    def finish(self) -> None:
        """Raises what `Road.connect` did."""
        if self._error is not None:
            raise self._error

    def _connect(self) -> None:
        error: Exception | None = None
        try:
            self._road.connect()
        except Exception as raised:  # noqa: BLE001 - `finish` raises it where somebody waits
            error = raised
        with self._lock:
            if self._left:
                self._road.link.close()
                return
            self._error, self.over = error, True
            self._theirs.send(b"x")
