"""Power that fails: of each SQLite file, only what was synced is left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connections

from tests.databases import Databases
from tests.ends import ROOT
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Oplog, connected, slots
from tests.unit.trust import Trust

SOURCE = Path(__file__).with_name("power_loss.c")
WAL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = "
TRANSACTIONS, ROWS = 20, 5


@dataclass(frozen=True)
class Machine:
    """`live` has the files that its processes use, `left` what the disk would have of them."""

    live: Path
    left: Path
    library: Path

    def bring(self, alias: str) -> None:
        """Put a copy of an SQLite database there, safe on its disk."""
        path = self.live / f"{alias}.sqlite3"
        with connections[alias].cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(path)])
        shutil.copy(path, self.left)

    def environment(self, synchronous: str) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "POWER_LOSS_KEEPS": str(self.left),
            "SOCKSTREAM_TEST_FOLDER": str(self.live),
            "SOCKSTREAM_TEST_PRAGMAS": WAL + synchronous,
        }

    def after(self, alias: str) -> sqlite3.Connection:
        """The database as it is when the power is back."""
        return sqlite3.connect(self.left / f"{alias}.sqlite3")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a C compiler and Linux are needed to see what is synced")
    live, left, library = tmp_path / "live", tmp_path / "left", tmp_path / "power_loss.so"
    live.mkdir()
    left.mkdir()
    options = ["-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run([compiler, *options], check=True, capture_output=True)
    return Machine(live, left, library)


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_central_loses_its_power(
    databases: Databases, trust: Trust, machine: Machine, synchronous: str
) -> None:
    """Nothing that was acked is lost with FULL. With NORMAL it is, and central has said so."""
    databases.clean("central_sqlite")
    machine.bring("central_sqlite")
    oplog = Oplog()
    central = receiver("central_sqlite", trust)
    central._environment |= machine.environment(synchronous)
    with central, connected(site_of(central, trust, oplog)) as site:
        for _ in range(TRANSACTIONS):
            oplog.add(slots(ROWS))
            site.send_all()
        acked = site.acked
        central.kill()
        warned = "does not wait for the disk" in central.log
    assert acked == TRANSACTIONS * ROWS
    with closing(machine.after("central_sqlite")) as database:
        seqs = database.execute("SELECT seq FROM sockstream_receiver_offset").fetchall()
        [rows] = database.execute("SELECT count(*) FROM zoo_slot").fetchone()
    left = seqs[0][0] if seqs else 0
    assert rows == left, "rows and offset are one transaction"
    assert (left == acked, warned) == ((True, False) if synchronous == "FULL" else (False, True))


APPLICATION = """
import os, signal, sys
import django
django.setup()
from django.db import connections, transaction
from tests.zoo.models import Slot
using, transactions, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(transactions):
    if number == transactions // 2:
        # What SQLite does by itself now and then: the first half is on the disk.
        connections[using].cursor().execute("PRAGMA wal_checkpoint(FULL)")
    with transaction.atomic(using=using):
        for _ in range(rows):
            Slot(name=str(number)).save(using=using)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("synchronous", "part"), [("FULL", 1.0), ("NORMAL", 0.5)])
def test_a_site_loses_its_power(
    databases: Databases, machine: Machine, synchronous: str, part: float
) -> None:
    """What is left of its rows has its records, and nothing else has."""
    databases.clean("site_sqlite")
    machine.bring("site_sqlite")
    command = [sys.executable, "-c", APPLICATION, "site_sqlite", str(TRANSACTIONS), str(ROWS)]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run(
        command, cwd=ROOT, env=environment | machine.environment(synchronous), check=False
    )
    with closing(machine.after("site_sqlite")) as database:
        [rows] = database.execute("SELECT count(*) FROM zoo_slot").fetchone()
        [records] = database.execute("SELECT count(*) FROM sockstream_sender_capture").fetchone()
    assert rows == records == part * TRANSACTIONS * ROWS
