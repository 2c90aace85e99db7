"""A site that migrates while it is offline, and one that is told to stop while central is busy."""

from __future__ import annotations

import signal
import socket
import sqlite3
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from demo.compare import compare
from polls.models import Tag
from sockstream.receiver.models import Offset
from sockstream.sender.models import Stream
from sockstream.sender.oplog import store
from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.ends import (
    Certificates,
    End,
    ReceiverProcess,
    SenderProcess,
    position,
    wait_until,
    wait_until_applied,
)
from tests.faults.test_silence import large, locked_parameters
from tests.servers import HOST
from tests.zoo.models import Parameter

MIGRATING = "tests.faults.migrating.settings"
GROWING = "tests.faults.growing.settings"
DRAIN = 1.5


class Migrate(End):
    """`migrate` of one app."""

    command = "migrate"
    certificate = "site"

    def __init__(self, app: str, settings: str, alias: str, *options: Any, **more: Any) -> None:
        super().__init__(alias, *options, **more)
        self.app = app
        self.settings_module = settings

    @property
    def arguments(self) -> list[str]:
        return [self.app, "--database", self.alias, "--skip-checks"]

    def run(self) -> None:
        self.start()
        assert self.wait() == 0, self.log


def add(site: sqlite3.Connection, *names: str) -> None:
    rows = [(uuid.uuid4().hex, name) for name in names]
    with site:
        site.executemany("INSERT INTO polls_tag (id, name) VALUES (?, ?)", rows)


def copied(alias: str, folder: Path) -> Path:
    """A copy of an SQLite database for the processes that are given this folder."""
    path = folder / f"{alias}.sqlite3"
    with connections[alias].cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(path)])
    return path


def test_a_central_that_does_not_answer_keeps_nothing_waiting(
    databases: Databases, certificates: Certificates
) -> None:
    site, patient = PAIRS["sqlite-sqlite"].site, {"CONNECT_TIMEOUT": 600.0}
    databases.clean(site)
    with (
        socket.create_server((HOST, 0)) as silent,
        SenderProcess(
            site, certificates, f"{HOST}:{silent.getsockname()[1]}", settings=patient
        ) as sender,
        silent.accept()[0],
    ):
        Tag.objects.using(site).create(name="written meanwhile")
        wait_until(lambda: store.stream(site).seq == 1, "numbered", 20)
        silent.settimeout(20)
        sender.signal(signal.SIGHUP)
        with silent.accept()[0]:
            assert sender.stop() == 0, sender.log


def test_a_stop_is_heard_whenever_it_comes(
    databases: Databases, certificates: Certificates
) -> None:
    """Here while the sender looks for work, right before it waits for a central that is silent."""
    site, patient = PAIRS["sqlite-sqlite"].site, {"CONNECT_TIMEOUT": 600.0}
    databases.clean(site)
    with socket.create_server((HOST, 0)) as silent:
        silent.settimeout(20)
        address = f"{HOST}:{silent.getsockname()[1]}"
        for _ in range(6):
            with (
                SenderProcess(site, certificates, address, settings=patient) as sender,
                silent.accept()[0],
            ):
                sender.signal(signal.SIGHUP)
                with silent.accept()[0]:
                    assert sender.stop() == 0, sender.log


@pytest.mark.slow
def test_a_site_that_migrates_while_offline(
    databases: Databases, certificates: Certificates, tmp_path: Path
) -> None:
    """SQLite rebuilds the table twice, and a data migration writes in between."""
    pair = PAIRS["sqlite-sqlite"]
    databases.clean(pair.site, pair.central)
    path, folder = copied(pair.site, tmp_path), {"SOCKSTREAM_TEST_FOLDER": str(tmp_path)}
    there = Tag.objects.using(pair.central)
    with (
        ReceiverProcess(pair.central, certificates) as central,
        closing(sqlite3.connect(path)) as site,
    ):
        sender = SenderProcess(pair.site, certificates, central.address, environment=folder)
        with sender:
            add(site, "before", "going")
            wait_until(lambda: there.count() == 2, "applied")
            assert sender.stop() == 0
            add(site, "offline")
            Migrate("polls", MIGRATING, pair.site, certificates, environment=folder).run()
            add(site, "after")
            here = set(site.execute("SELECT name FROM polls_tag"))
            assert here == {(name,) for name in ("before!", "offline!", MADE, "after")}
            sender.start()
            wait_until(lambda: set(there.values_list("name")) == here, "equal", 20)
            keys = {uuid.UUID(key) for (key,) in site.execute("SELECT id FROM polls_tag")}
            assert set(there.values_list("id", flat=True)) == keys


@pytest.mark.slow
def test_a_site_that_migrates_before_central(
    databases: Databases, certificates: Certificates, tmp_path: Path
) -> None:
    """Central has no place for the new column: the stream stops, and goes on when it has."""
    pair = PAIRS["sqlite-sqlite"]
    databases.clean(pair.site, pair.central)
    here, there = (copied(alias, tmp_path) for alias in (pair.site, pair.central))
    old = {"SOCKSTREAM_TEST_FOLDER": str(tmp_path)}
    new = {**old, "GROWN": "1"}
    for alias, version in ((pair.site, new), (pair.central, old)):
        Migrate("growing", GROWING, alias, certificates, environment=version).run()
    with closing(sqlite3.connect(here)) as site, closing(sqlite3.connect(there)) as remote:
        with site:
            row = (uuid.uuid4().hex, "oak", 7)
            site.execute("INSERT INTO growing_plant (id, name, height) VALUES (?, ?, ?)", row)
        central = ReceiverProcess(pair.central, certificates, environment=old)
        central.settings_module = GROWING
        with central:
            sender = SenderProcess(pair.site, certificates, central.address, environment=new)
            sender.settings_module = GROWING
            with sender:
                sender.wait_for_line("growing.plant.*height")
                sender.wait_for_line("migrate")
                assert remote.execute("SELECT count(*) FROM growing_plant").fetchone() == (0,)
                central.stop()
                Migrate("growing", GROWING, pair.central, certificates, environment=new).run()
                central._environment |= new
                central.start()
                central.wait_until_listening()
                query = "SELECT id, name, height FROM growing_plant"
                wait_until(lambda: remote.execute(query).fetchall() == [row], "applied", 20)
                assert sender.stop() == 0


MADE = "made by the migration"

# As it is, but for the time that it waits for acks.
_IMPATIENT = f"""
import os, sys
import django
os.environ["DJANGO_SETTINGS_MODULE"] = sys.argv[-1]
django.setup()
from sockstream.sender import service
service.DRAIN = {DRAIN}
from django.core.management import execute_from_command_line
execute_from_command_line(["django", *sys.argv[4:]])
"""


def test_sigterm_of_the_sender_while_central_is_busy(
    databases: Databases, certificates: Certificates
) -> None:
    """It does not wait for ever for acks; what was in flight is sent again, and applied once."""
    pair = Pair("site_sqlite", "central_pg")
    databases.clean(pair.site, pair.central)
    with ReceiverProcess(pair.central, certificates) as central:
        sender = SenderProcess(pair.site, certificates, central.address)
        sender.launcher = [sys.executable, "-c", _IMPATIENT]
        with sender:
            large(0).save(using=pair.site)
            wait_until_applied(pair, sender, central)
            with locked_parameters():
                large(1).save(using=pair.site)
                wait_until(lambda: position(pair)[0] == 2, "numbered")
                time.sleep(0.3)
                begun = time.monotonic()
                assert sender.stop() == 0
                assert DRAIN - 0.2 < time.monotonic() - begun < DRAIN + 5
                sender.wait_for_line("central has acked everything up to 1, 1 wait here")
                assert Stream.objects.using(pair.site).get().state == "stopped"
            sender.start()
            sender.wait_until_connected()
            wait_until_applied(pair, sender, central)
    offset = Offset.objects.using(pair.central).get()
    assert (offset.records_applied, offset.inserts_met) == (2, 0)
    assert compare([Parameter], pair.site, pair.central) == []


@pytest.mark.parametrize("pair", [PAIRS["pg-pg"]], ids=["pg"], indirect=True)
def test_sigterm_of_the_sender_under_load(pair: Pair, certificates: Certificates) -> None:
    """Everything that was sent is acked and noted when it ends."""
    small = {"BATCH_RECORDS": 5}
    with ReceiverProcess(pair.central, certificates) as central:
        sender = SenderProcess(pair.site, certificates, central.address, settings=small)
        with sender:
            sender.wait_until_connected()
            for turn in range(2):
                Tag.objects.using(pair.site).bulk_create(
                    Tag(name=f"{turn}: {number}") for number in range(500)
                )
                before = position(pair)[1]
                wait_until(lambda: position(pair)[0] > before, "numbered")  # noqa: B023
                assert sender.stop() == 0
                acked = Stream.objects.using(pair.site).get().acked_seq
                assert acked == position(pair)[1]
                sender.wait_for_line(f"central has acked everything up to {acked},")
                sender.start()
            wait_until_applied(pair, sender, central)
    offset = Offset.objects.using(pair.central).get()
    assert (offset.records_applied, offset.inserts_met) == (1000, 0)
    assert compare([Tag], pair.site, pair.central) == []
