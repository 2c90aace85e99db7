"""Certificates end, are renewed and revoked while both ends run, and nobody starts them again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sockstream.receiver.models import Source
from tests.databases import Databases, Pair
from tests.ends import (
    ROOT,
    ReceiverProcess,
    SenderProcess,
    is_applied,
    wait_until,
    wait_until_applied,
)
from tests.faults.certificates.folder import DAY, Folder
from tests.zoo.models import Slot

PAIR = Pair("site_sqlite", "central_sqlite")
SECONDS = timedelta(seconds=1)
LIFE = 5 * SECONDS
LATE = 10.0

Both = tuple[ReceiverProcess, SenderProcess]


@pytest.fixture(autouse=True)
def clean(databases: Databases) -> None:
    databases.clean(PAIR.site, PAIR.central)


@contextmanager
def both(folder: Any, **settings: Any) -> Iterator[Both]:
    """Central and a site that has sent something. At the end nothing has been started anew."""
    with (
        ReceiverProcess(PAIR.central, folder, settings=settings) as receiver,
        SenderProcess(PAIR.site, folder, receiver.address) as sender,
    ):
        sender.wait_until_connected()
        arrives(receiver, sender)
        yield receiver, sender
        assert sender.stop() == 0, sender.log
        assert receiver.stop() == 0, receiver.log
        for end in (receiver, sender):
            assert "Traceback" not in end.log


def arrives(*ends: Any) -> None:
    """What is written now arrives."""
    Slot(name="now").save(using=PAIR.site)
    wait_until_applied(PAIR, *ends, within=20)


def seconds_after(when: datetime) -> float:
    return (datetime.now(UTC) - when).total_seconds()


def test_a_site_s_certificate_ends_during_a_link(folder: Folder) -> None:
    """The link ends with it; the old one is refused from then on, and a new one is read."""
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder) as (receiver, sender):
        ends = folder.make("site", LIFE)
        sender.signal(signal.SIGHUP)
        wait_until(lambda: len(lines(receiver, " gone: ")) == 2, "the link's end")
        assert -1 < seconds_after(ends) < LATE
        sender.wait_for_line("refuses our certificate: it has expired")
        receiver.wait_for_line("has expired")
        Slot(name="kept").save(using=PAIR.site)
        assert not is_applied(PAIR)
        folder.make("site")
        wait_until_applied(PAIR, receiver, sender, within=20)
        arrives(receiver, sender)


def test_central_s_certificate_ends_during_a_link(folder: Folder) -> None:
    """A new one is read at the next handshake: central is not started again."""
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder) as (receiver, sender):
        ends = folder.make("localhost", LIFE)
        sender.signal(signal.SIGHUP)
        sender.wait_for_line("The certificate of central at .* has expired")
        assert -1 < seconds_after(ends) < LATE
        Slot(name="kept").save(using=PAIR.site)
        assert not is_applied(PAIR)
        folder.make("localhost")
        wait_until_applied(PAIR, receiver, sender, within=20)
        read_again = "The files have changed: from the next handshake on"
        wait_until(lambda: len(lines(receiver, read_again)) == 2, "read twice")


def test_certificates_are_exchanged_under_load(folder: Folder) -> None:
    """Old and new ones are good together, so that each end changes over when it likes to."""
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder) as (receiver, sender):
        for name, end in (("site", sender), ("localhost", receiver), ("site", sender)):
            before = serial()
            Slot.objects.using(PAIR.site).bulk_create(Slot(name=name) for _ in range(2_000))
            folder.make(name)
            end.signal(signal.SIGHUP)
            Slot.objects.using(PAIR.site).bulk_create(Slot(name=name) for _ in range(2_000))
            wait_until_applied(PAIR, receiver, sender)
            if end is sender:
                wait_until(lambda: serial() != before, "the new certificate was seen", 10)  # noqa: B023
            else:
                receiver.wait_for_line("SIGHUP: from the next handshake on")
    assert Slot.objects.using(PAIR.central).count() == 12_001


def serial() -> str:
    """The number of the certificate that the site has shown last."""
    return Source.objects.using(PAIR.central).get().serial


def test_sighup_is_said_and_ends_nothing(folder: Folder) -> None:
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder) as (receiver, sender):
        pids = receiver.pid, sender.pid
        receiver.signal(signal.SIGHUP)
        receiver.wait_for_line(r"SIGHUP: from the next handshake on, central shows .*localhost.crt")
        sender.signal(signal.SIGHUP)
        sender.wait_for_line("SIGHUP: connecting anew, with the certificate files as they are now")
        wait_until(lambda: len(lines(sender, "Connected to ")) == 2, "another connection", 10)
        assert lines(receiver, "the site said bye")
        for _ in range(20):
            receiver.signal(signal.SIGHUP)
            sender.signal(signal.SIGHUP)
        arrives(receiver, sender)
        assert (receiver.pid, sender.pid) == pids
        assert not lines(sender, "WARNING")


def test_sighup_while_central_is_away(folder: Folder) -> None:
    """It ends the wait for the next attempt."""
    for name in ("localhost", "site"):
        folder.make(name)
    slow = {"BACKOFF_MAX": 600.0}
    with ReceiverProcess(PAIR.central, folder_of(folder)) as receiver:
        receiver.kill()
        with SenderProcess(PAIR.site, folder_of(folder), receiver.address, settings=slow) as sender:
            sender.wait_for_line("Nothing listens at")
            receiver.start()
            receiver.wait_until_listening()
            for number in range(1, 20):
                sender.signal(signal.SIGHUP)
                wait_until(lambda: len(lines(sender, "SIGHUP")) >= number, "heard", 10)  # noqa: B023
                if lines(sender, "Connected to "):
                    break
            sender.wait_until_connected()
            arrives(receiver, sender)


def folder_of(folder: Folder) -> Any:
    """Typed as the processes want it."""
    return folder


def lines(end: Any, words: str) -> list[str]:
    return [line for line in end.lines if words in line]


def test_files_that_do_not_fit_are_said_and_what_was_read_is_used(folder: Folder) -> None:
    """For instance between the copying of the one and of the other."""
    for name in ("localhost", "site"):
        folder.make(name)
    key = Path(folder.settings("localhost")["KEY"])
    with both(folder) as (receiver, sender):
        old_key = key.read_bytes()
        folder.make("localhost")
        new_key = key.read_bytes()
        key.write_bytes(old_key)
        sender.signal(signal.SIGHUP)
        receiver.wait_for_line("cannot be used, and those that were read before still are: .*key")
        wait_until(lambda: len(lines(sender, "Connected to ")) == 2, "another connection", 10)
        arrives(receiver, sender)
        key.write_bytes(new_key)
        sender.signal(signal.SIGHUP)
        receiver.wait_for_line("The files have changed: from the next handshake on")
        arrives(receiver, sender)


def test_a_list_of_revoked_ones_that_appears_meanwhile(folder: Folder) -> None:
    """Central had none when it started. SIGHUP makes it look at once."""
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder, RECHECK=600.0) as (receiver, sender):
        crl = folder.trust.revocations([folder.folder / "site.crt"])
        crl.rename(folder.folder / "crl.pem")
        receiver.signal(signal.SIGHUP)
        sender.wait_for_line("was revoked on")
        folder.make("site")
        arrives(receiver, sender)


def test_a_central_that_is_revoked(folder: Folder) -> None:
    """Who has its key may pose as central. A site that has the list says nothing to it."""
    for name in ("localhost", "site"):
        folder.make(name)
    with both(folder) as (receiver, sender):
        crl = folder.trust.revocations([folder.folder / "localhost.crt"])
        crl.rename(folder.folder / "crl.pem")
        sender.signal(signal.SIGHUP)
        sender.wait_for_line("The certificate of 'localhost' .* was revoked on")
        Slot(name="kept").save(using=PAIR.site)
        assert len(lines(receiver, "connected from")) == 1
        assert not is_applied(PAIR)
        folder.make("localhost")
        wait_until_applied(PAIR, receiver, sender, within=20)


def status(alias: str, folder: Folder, name: str, *options: str) -> str:
    """What `oplog_status` prints at that end."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SOCKSTREAM_TEST_DEFAULT": alias,
        "SOCKSTREAM_TEST_SETTINGS": json.dumps(folder.settings(name)),
    }
    command = [sys.executable, "-m", "django", "oplog_status", "--database", alias, *options]
    run = [*command, "--settings", "tests.settings"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("soon", ["site", "localhost", ""])
def test_the_end_is_told_before_it_comes(folder: Folder, soon: str) -> None:
    """In both logs, once a day however often a site connects, and in both status tables."""
    for name in ("localhost", "site"):
        folder.make(name, 12 * DAY if name == soon else 365 * DAY)
    words = r"expires in 1[12] days \(on \S+ at \S+ UTC\)"
    mend = r"Run where the authority is: sockstream certs renew "
    with both(folder) as (receiver, sender):
        for _ in range(2):
            before = len(lines(sender, "Connected to "))
            sender.signal(signal.SIGHUP)
            wait_until(lambda: len(lines(sender, "Connected to ")) > before, "again", 10)  # noqa: B023
        arrives(receiver, sender)
        expected = {
            "site": (rf"The certificate of the site site {words}\. {mend}site", "site.crt"),
            "localhost": (rf"The certificate \S+localhost.crt {words}\. {mend}localhost", ""),
            "": ("", ""),
        }[soon]
        at_central = [line for line in receiver.lines if re.search(words, line)]
        at_site = [line for line in sender.lines if re.search(words, line)]
        assert len(at_central) == (1 if soon else 0)
        assert len(at_site) == (1 if soon == "site" else 0)
        assert all(re.search(expected[0], line) for line in at_central)
        assert all("site.crt expires in" in line for line in at_site)
    shown = {
        "site": status(PAIR.site, folder, "site"),
        "central": status(PAIR.central, folder, "localhost"),
    }
    assert len(re.findall(words, shown["central"])) == (1 if soon else 0)
    assert len(re.findall(words, shown["site"])) == (1 if soon == "site" else 0)
    central = json.loads(status(PAIR.central, folder, "localhost", "--json"))
    assert bool(central["certificate"]["warning"]) == (soon == "localhost")
    [row] = central["central"]
    assert bool(row["certificate_warning"]) == (soon == "site")
    expires = Source.objects.using(PAIR.central).get().not_after
    assert datetime.fromisoformat(row["certificate_expires"]) == expires
