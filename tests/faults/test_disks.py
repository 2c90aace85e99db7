"""A disk that is really full: a small file system, filled up, then with room again."""

from __future__ import annotations

import os
import signal
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from django.db import connections

from sockstream.receiver.models import Offset
from tests.databases import Databases
from tests.ends import Certificates, ReceiverProcess, SenderProcess, wait_until
from tests.faults.disk import REFUSED, Disk, mounted
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Acked, Oplog, connected, slots
from tests.servers import serving_account
from tests.unit.trust import Trust
from tests.zoo.models import Slot

SIZE = "8m"
ROWS, MANY = 20, 3_000
CAPTURE = "sockstream_sender_capture"


@pytest.fixture
def disk() -> Iterator[Disk]:
    with mounted(SIZE) as found:
        if found is None:
            pytest.skip(REFUSED)
        yield found


def copy(disk: Disk, alias: str) -> Path:
    """A copy of an SQLite database, as the same alias of a process that has this folder."""
    path = disk.folder / f"{alias}.sqlite3"
    with connections[alias].cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(path)])
    return path


def folder_of(disk: Disk) -> dict[str, str]:
    return {"SOCKSTREAM_TEST_FOLDER": str(disk.folder)}


def test_central_on_sqlite(databases: Databases, trust: Trust, disk: Disk) -> None:
    """Nothing is acked while it is full; the link is kept, and it goes on when there is room."""
    databases.clean("central_sqlite")
    path = copy(disk, "central_sqlite")
    central = receiver("central_sqlite", trust)
    central._environment |= folder_of(disk)
    with central:
        is_full_for_a_while(central, trust, disk)
    with closing(sqlite3.connect(path)) as there:
        assert there.execute("SELECT count(*) FROM zoo_slot").fetchone() == (1 + MANY,)
        counts = "records_applied, inserts_met FROM sockstream_receiver_offset"
        assert there.execute(f"SELECT {counts}").fetchone() == (1 + MANY, 0)


def test_central_on_postgresql(databases: Databases, trust: Trust, disk: Disk) -> None:
    databases.clean("central_pg")
    with tablespace(disk), receiver("central_pg", trust) as central:
        is_full_for_a_while(central, trust, disk)
        central.stop()
        offset = Offset.objects.using("central_pg").get()
        assert (offset.records_applied, offset.inserts_met) == (1 + MANY, 0)
        assert Slot.objects.using("central_pg").count() == 1 + MANY


@contextmanager
def tablespace(disk: Disk) -> Iterator[None]:
    """What zoo.Slot holds is on that disk."""
    account = serving_account()
    assert account is not None
    disk.folder.chmod(0o755)
    files = disk.folder / "files"
    files.mkdir()
    os.chown(files, account.pw_uid, account.pw_gid)
    with connections["central_pg"].cursor() as cursor:
        cursor.execute(f"CREATE TABLESPACE small LOCATION '{files}'")
        try:
            cursor.execute("ALTER TABLE zoo_slot SET TABLESPACE small")
            yield
        finally:
            cursor.execute("ALTER TABLE zoo_slot SET TABLESPACE pg_default")
            cursor.execute("DROP TABLESPACE small")


def is_full_for_a_while(central: ReceiverProcess, trust: Trust, disk: Disk) -> None:
    oplog = Oplog()
    oplog.add(slots(1))
    with connected(site_of(central, trust, oplog)) as site:
        site.send_all()
        disk.fill()
        oplog.add(slots(MANY, 50))
        site.fill()
        site.pump()
        central.wait_for_line("the database failed, trying again: .*(full|No space left)", 20)
        site.pump(0.2)
        assert [event.offset for event in site.said(Acked)] == [1]
        disk.make_room()
        site.send_all()
        central.wait_for_line("the database is back")
    assert "Traceback" not in central.log


def test_a_site(databases: Databases, certificates: Certificates, disk: Disk) -> None:
    """The application's transaction fails as a whole; the sender waits, and goes on."""
    databases.clean("site_sqlite", "central_sqlite")
    path = copy(disk, "site_sqlite")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as application,
        ReceiverProcess("central_sqlite", certificates) as central,
    ):
        disk.fill()
        with pytest.raises(sqlite3.OperationalError, match="full"):
            insert_for_ever(application)
        rows = count(application, "zoo_slot")
        assert rows == count(application, CAPTURE), "each row has its record, each record its row"
        disk.make_room()
        there = folder_of(disk)
        with SenderProcess("site_sqlite", certificates, central.address, environment=there) as site:
            site.wait_until_connected()
            site.signal(signal.SIGSTOP)
            insert(application)
            rows = count(application, "zoo_slot")
            disk.fill()
            site.signal(signal.SIGCONT)
            site.wait_for_line("cannot be used: database or disk is full", 20)
            disk.make_room()
            arrived = Slot.objects.using("central_sqlite")
            wait_until(lambda: arrived.count() == rows, "all of them", 20)
            assert site.stop() == 0
        assert "Traceback" not in site.log


def insert(application: sqlite3.Connection) -> None:
    """One transaction of some rows."""
    rows = [(uuid.uuid4().hex, "x" * 50) for _ in range(ROWS)]
    application.execute("BEGIN IMMEDIATE")
    try:
        application.executemany("INSERT INTO zoo_slot (id, name) VALUES (?, ?)", rows)
        application.execute("COMMIT")
    except sqlite3.OperationalError:
        if application.in_transaction:
            application.execute("ROLLBACK")
        raise


def insert_for_ever(application: sqlite3.Connection) -> None:
    """A few find room in the database's own files."""
    while True:
        insert(application)


def count(application: sqlite3.Connection, table: str) -> int:
    found: int = application.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found
