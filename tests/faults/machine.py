"""What central's database runs on, so that faults may be about it: a disk, a server of its own.

Only whole runs have it (`make faults`): the tests share one server between both ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import connections

from tests.databases import Databases
from tests.faults import disk
from tests.servers import READY_WITHIN, PostgreSQL, serving_account

ROOM = "1g"
"""Enough for what a chapter writes; what fills it is in memory."""
PORT_OF_CENTRAL = "SOCKSTREAM_TEST_CENTRAL_PORT"
SHARED = "central's database is on the server of the site's"


@dataclass
class Machine:
    """`disk` is what central's tables are on, `server` what serves them and nobody else's."""

    disk: disk.Disk | None = None
    server: OwnServer | None = None

    def left_out(self, vendor: str) -> dict[str, str]:
        """The faults that it cannot have, with the reason."""
        found = {}
        if self.disk is None:
            found["disk full"] = disk.REFUSED
        if vendor == "postgresql" and self.server is None:
            found["server killed"] = SHARED
        return found


NOTHING = Machine()


class OwnServer(PostgreSQL):
    """A server that is killed as a whole, and started again on what it left."""

    def __init__(self) -> None:
        # What it acked has to be there afterwards.
        super().__init__(fsync=True)

    def crash(self) -> None:
        """SIGKILL to the first of its processes; the others end when they see it."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        assert self._keeper is not None
        self._keeper.wait()

    def start_again(self) -> None:
        """Serve again. Raises RuntimeError if that takes longer than READY_WITHIN."""
        until = time.monotonic() + READY_WITHIN
        while True:
            self._keeper = self._keep(self.command())
            try:
                return self._await(self._keeper)
            except RuntimeError:
                # Processes of before have the memory that they shared.
                if time.monotonic() > until:
                    raise


@contextmanager
def of_central(vendor: str, databases: Databases) -> Iterator[Machine]:
    """Put central's database of this vendor on a machine of its own.

    To be entered before anybody uses the database.
    """
    with ExitStack() as stack:
        small = stack.enter_context(disk.mounted(ROOM))
        if vendor == "sqlite":
            if small is not None:
                _move_file(databases, small.folder)
            yield Machine(small)
            return
        databases.postgresql()
        server = stack.enter_context(OwnServer())
        server.execute(f"CREATE DATABASE central_pg{_tablespace(server, small)}")
        server.execute("CREATE EXTENSION hstore", database="central_pg")
        settings.DATABASES["central_pg"]["PORT"] = str(server.port)
        os.environ[PORT_OF_CENTRAL] = str(server.port)
        try:
            yield Machine(small, server)
        finally:
            connections["central_pg"].close()
            del os.environ[PORT_OF_CENTRAL]


def _move_file(databases: Databases, folder: Path) -> None:
    """SQLite goes where the link points to, and so do the files beside."""
    name = "central_sqlite.sqlite3"
    link = Path(databases.folder(), name)
    link.symlink_to(folder / name)


def _tablespace(server: PostgreSQL, small: disk.Disk | None) -> str:
    if small is None:
        return ""
    small.folder.chmod(0o755)
    files = small.folder / "files"
    files.mkdir()
    if (account := serving_account()) is not None:
        os.chown(files, account.pw_uid, account.pw_gid)
    server.execute(f"CREATE TABLESPACE small LOCATION '{files}'")
    return " TABLESPACE small"
