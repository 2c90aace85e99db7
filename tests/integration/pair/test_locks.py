"""On SQLite everybody shares one lock: the application's writes never fail because of the sender.

The application waits for a quarter of a second only, a twentieth of what Django sets. It writes
all the time, while a backlog is numbered, acks are noted and the oplog is pruned.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import OperationalError, connections, transaction

from demo.compare import compare
from polls.models import Tag
from sockstream.sender.oplog import store
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    shared_models,
    wait_until,
    wait_until_applied,
)
from tests.zoo.models import Parameter, Required

PATIENCE = 0.25
PAUSE = 0.002
BACKLOG = 15_000
PRUNED = BACKLOG // 1000
PRAGMAS = "PRAGMA journal_mode = {}; PRAGMA synchronous = NORMAL"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("pair", [PAIRS["sqlite-sqlite"]], ids=["sqlite"], indirect=True),
]


class Application(threading.Thread):
    """Writes in autocommit until it is ended; `refused` is what the database told it."""

    def __init__(self, alias: str) -> None:
        super().__init__(daemon=True)
        self.alias = alias
        # A transaction that reads first may write later only if it has the lock from its beginning.
        options = connections[alias].settings_dict["OPTIONS"]
        self.reads_first = options["transaction_mode"] == "IMMEDIATE"
        self.writes = 0
        self.slowest = 0.0
        self.refused: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        # The settings are the process's, the connection is this thread's own.
        try:
            while not self.ended.is_set():
                self._write()
        finally:
            connections[self.alias].close()

    def _write(self) -> None:
        begun = time.perf_counter()
        try:
            write(self.alias, self.writes)
            if self.reads_first:
                count(self.alias)
        except OperationalError as error:
            self.refused.append(f"write {self.writes}: {error}")
        self.writes += 1
        self.slowest = max(self.slowest, time.perf_counter() - begun)
        # SQLite has no queue: without a pause nobody else would ever have a turn.
        time.sleep(PAUSE)


def write(alias: str, number: int) -> None:
    """What an application does: mostly single statements, now and then a transaction."""
    tag = Tag(name=str(number))
    tag.save(using=alias)
    tag.name = f"{number} again"
    tag.save(using=alias)
    if number % 3 == 0:
        tag.delete(using=alias)
    if number % 10 == 0:
        with transaction.atomic(using=alias):
            for part in range(10):
                Tag(name=f"{number}/{part}").save(using=alias)


def count(alias: str) -> None:
    """Read, then write what follows from it."""
    with transaction.atomic(using=alias):
        known, _ = Parameter.objects.using(alias).get_or_create(
            name="count", defaults={"value": "0"}
        )
        known.value = str(int(known.value) + 1)
        known.save(using=alias)


MODES = [(journal, begin) for journal in ("wal", "delete") for begin in ("DEFERRED", "IMMEDIATE")]


@pytest.fixture(params=MODES, ids="-".join)
def journal(request: pytest.FixtureRequest, pair: Pair) -> Iterator[str]:
    """The journal mode of the site's database, in which the application is short of patience."""
    mode, begin = request.param
    connection = connections[pair.site]
    options = connection.settings_dict["OPTIONS"]
    before = dict(options)
    options["init_command"] = PRAGMAS.format(mode)
    options["transaction_mode"] = begin
    options["timeout"] = PATIENCE
    connection.close()
    yield mode
    connection.close()
    options.clear()
    options.update(before)


def test_the_application_is_never_refused(
    pair: Pair, journal: str, receiver: ReceiverProcess, certificates: Certificates
) -> None:
    rows = [Required(name=str(number), count=number) for number in range(BACKLOG)]
    Required.objects.using(pair.site).bulk_create(rows)
    environment = {"SOCKSTREAM_TEST_PRAGMAS": PRAGMAS.format(journal)}
    sender = SenderProcess(pair.site, certificates, receiver.address, environment=environment)
    with sender, pruning(pair.site) as pruned, writing(pair.site) as application:
        wait_until(lambda: pruned[0] >= PRUNED, "the backlog numbered, acked and pruned", 90)
    with sender:
        sender.wait_until_connected()
        wait_until_applied(pair, sender)
        assert sender.stop() == 0, sender.log
    sys.stdout.write(
        f"{journal}: {application.writes} writes, the slowest took "
        f"{application.slowest * 1e3:.0f} ms; {pruned[0]} batches pruned\n"
    )
    assert application.refused == []
    assert application.writes > 100
    assert compare(shared_models(pair), pair.site, pair.central) == []


@contextmanager
def writing(alias: str) -> Iterator[Application]:
    """An application at work."""
    application = Application(alias)
    application.start()
    try:
        yield application
    finally:
        application.ended.set()
        application.join()


@contextmanager
def pruning(alias: str) -> Iterator[list[int]]:
    """Prune what is acked all the time, as if nothing had to be retained."""
    ended, pruned = threading.Event(), [0]

    def prune() -> None:
        connections[alias].settings_dict = {
            **connections[alias].settings_dict,
            "OPTIONS": {**connections[alias].settings_dict["OPTIONS"], "timeout": 20},
        }
        try:
            while not ended.wait(0.05):
                pruned[0] += store.prune(alias, timedelta(0))
        finally:
            connections[alias].close()

    thread = threading.Thread(target=prune, daemon=True)
    thread.start()
    try:
        yield pruned
    finally:
        ended.set()
        thread.join()
