"""A program: change a folder of certificates, and die at the first, second ... touch of a file.

    python -m tests.unit.certs.crashes FOLDER ACTION PLACES

FOLDER is copied into the directory PLACES as 1, 2, ... ; in each copy ACTION (`make`, `renew` or
`revoke`) is begun and dies at the so manieth touch of a file, until one comes to its end. It is a
program of its own because it forks, and pytest may have threads.
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from sockstream.certs import store

EVENTS = ("open", "os.link", "os.mkdir", "os.remove", "os.rename")
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIED = 9


def main(folder: Path, action: str, places: Path) -> None:
    """Die at each point in turn."""
    places.mkdir()
    for last in range(1, 1000):
        place = places / str(last)
        if folder.exists():
            shutil.copytree(folder, place)
        if not _died(place, action, last):
            return
    raise AssertionError("it never ends")


def change(folder: Path, action: str) -> None:
    """Do `action` to `folder`."""
    with store.opened(folder, NOW, days=30 if action == "make" else None) as opened:
        if action == "make":
            opened.make_plain(30)
        elif action == "renew":
            opened.renew("site", 60)
        else:
            opened.revoke("site")


def _died(place: Path, action: str, last: int) -> bool:
    child = os.fork()
    if child == 0:
        _die_at(place, last)
        change(place, action)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, DIED)
    return code == DIED


def _die_at(folder: Path, last: int) -> None:
    events = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal events
        if event in EVENTS and str(arguments[0]).startswith(str(folder)):
            events += 1
            if events == last:
                os._exit(DIED)

    sys.addaudithook(count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
