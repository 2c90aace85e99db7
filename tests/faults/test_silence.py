"""A peer that says nothing: swallowed packets, a stopped process, a very long transaction."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg
import pytest
from django.db import connections

from demo.compare import compare
from polls.models import Tag
from sockstream.receiver.models import Offset
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
from tests.faults.bad_input.ends import Receiver, certs
from tests.zoo.models import Parameter

HEARTBEAT = 0.5
NOTICED_WITHIN = 3 * HEARTBEAT + 2.0
# Three of them are more than a busy machine keeps a process waiting.
CALM = 0.8
WATCHFUL = {"HEARTBEAT": HEARTBEAT, "CONNECT_TIMEOUT": 1.0}
SQLITE = PAIRS["sqlite-sqlite"]
HERE, THERE, NOBODY = "169.254.77.1", "169.254.77.2", "02:00:00:00:00:99"


class Line:
    """A network of two addresses, the second one in a namespace of its own."""

    def __init__(self) -> None:
        self.space = f"sockstream{os.getpid()}"
        self._near, self._far = f"ss{os.getpid()}a", f"ss{os.getpid()}b"

    def lay(self) -> bool:
        """Returns whether this machine lets us."""
        if os.geteuid() != 0 or ip("netns", "add", self.space):
            return False
        return not any(
            [
                ip("link", "add", self._near, "type", "veth", "peer", "name", self._far),
                ip("link", "set", self._far, "netns", self.space),
                ip("addr", "add", f"{HERE}/30", "dev", self._near),
                ip("link", "set", self._near, "up"),
                ip("-n", self.space, "addr", "add", f"{THERE}/30", "dev", self._far),
                ip("-n", self.space, "link", "set", self._far, "up"),
            ]
        )

    def remove(self) -> None:
        ip("link", "del", self._near)
        ip("netns", "del", self.space)

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Every packet of either end goes to an address that nobody has."""
        to = ("lladdr", NOBODY, "nud", "permanent")
        assert not ip("neigh", "replace", THERE, "dev", self._near, *to)
        assert not ip("-n", self.space, "neigh", "replace", HERE, "dev", self._far, *to)
        try:
            yield
        finally:
            ip("neigh", "del", THERE, "dev", self._near)
            ip("-n", self.space, "neigh", "del", HERE, "dev", self._far)


def ip(*arguments: str) -> int:
    try:
        return subprocess.run(["ip", *arguments], check=False, capture_output=True).returncode
    except FileNotFoundError:
        return 1


@pytest.fixture
def line() -> Iterator[Line]:
    laid = Line()
    try:
        if not laid.lay():
            pytest.skip("only root may lay a network of its own, and not everywhere")
        yield laid
    finally:
        laid.remove()


@pytest.mark.parametrize("pair", [SQLITE], ids=["sqlite"], indirect=True)
def test_a_network_that_swallows_everything(
    pair: Pair, certificates: Certificates, line: Line
) -> None:
    """Idle or writing, both ends notice; the site writes on, and all of it arrives."""
    certs(certificates.folder, "server", HERE)
    own = {**WATCHFUL, **certificates.settings(HERE)}
    central = Receiver(pair.central, certificates, "--bind", f"{HERE}:0", settings=own)
    with central:
        to = f"{HERE}:{central.port}"
        sender = SenderProcess(pair.site, certificates, to, settings=WATCHFUL)
        sender.launcher = ["ip", "netns", "exec", line.space]
        with sender:
            for writing in (False, True):
                Tag(name=f"before {writing}").save(using=pair.site)
                wait_until_applied(pair, sender, central)
                heard = [len(end.lines) for end in (sender, central)]
                with line.swallowing():
                    begun = time.monotonic()
                    if writing:
                        Tag(name="meanwhile").save(using=pair.site)
                    has_noticed(sender, heard[0])
                    has_noticed(central, heard[1])
                    assert time.monotonic() - begun < NOTICED_WITHIN
                    Tag(name=f"after {writing}").save(using=pair.site)
                    _, offset = position(pair)
                    wait_until(lambda: position(pair)[0] > offset, "numbered", 5)  # noqa: B023
                wait_until_applied(pair, sender, central, within=20)
    assert compare([Tag], pair.site, pair.central) == []


def has_noticed(end: End, heard: int) -> None:
    """Wait for the line that says so, among those after the first `heard` ones."""
    words = ("Nothing came from the peer", "timed out")
    wait_until(
        lambda: any(word in line for line in end.lines[heard:] for word in words),
        f"noticed by {end.command}: {end.lines[heard:]}",
        NOTICED_WITHIN,
    )


def large(number: int) -> Parameter:
    """A row of 400 kB that no codec makes small."""
    return Parameter(name=f"large {number}", value=random.randbytes(200_000).hex())


@pytest.mark.parametrize("pair", [SQLITE], ids=["sqlite"], indirect=True)
def test_central_reads_nothing_any_more(pair: Pair, certificates: Certificates) -> None:
    """It is stopped: the window closes, the sender keeps no more than a window, and gives up."""
    narrow, plain = {**WATCHFUL, "WINDOW": 2 << 20}, {**WATCHFUL, "COMPRESS": False}
    with (
        ReceiverProcess(pair.central, certificates, settings=narrow) as central,
        SenderProcess(pair.site, certificates, central.address, settings=plain) as sender,
    ):
        large(0).save(using=pair.site)
        wait_until_applied(pair, sender, central)
        process = psutil.Process(sender.pid)
        before = highest = process.memory_info().rss
        central.signal(signal.SIGSTOP)
        longest = 0.0
        for number in range(1, 80):
            begun = time.monotonic()
            large(number).save(using=pair.site)
            longest = max(longest, time.monotonic() - begun)
            highest = max(highest, process.memory_info().rss)
        sender.wait_for_line("Nothing came from the peer|timed out", 10)
        highest = max(highest, process.memory_info().rss)
        central.signal(signal.SIGCONT)
        wait_until_applied(pair, sender, central, within=30)
    sys.stdout.write(f"{(highest - before) >> 20} MiB more, {longest:.3f} s\n")
    assert longest < 5, "the application waited"
    assert highest - before < 16 << 20, f"{(highest - before) >> 20} MiB more"
    assert compare([Parameter], pair.site, pair.central) == []


@contextmanager
def locked_parameters() -> Iterator[None]:
    """Nobody can write a zoo.Parameter at central."""
    with psycopg.connect(**connections["central_pg"].get_connection_params()) as other:
        other.execute("LOCK TABLE zoo_parameter IN EXCLUSIVE MODE")
        yield
        other.rollback()


@pytest.mark.slow
def test_a_transaction_that_takes_very_long(
    databases: Databases, certificates: Certificates
) -> None:
    """Central says that it is at work: nobody gives up, nothing is sent again or kept twice."""
    pair = Pair("site_sqlite", "central_pg")
    databases.clean(pair.site, pair.central)
    calm = {"HEARTBEAT": CALM}
    with (
        ReceiverProcess(
            pair.central, certificates, settings={**calm, "STUCK_AFTER": 1.0}
        ) as central,
        SenderProcess(pair.site, certificates, central.address, settings=calm) as sender,
    ):
        large(0).save(using=pair.site)
        wait_until_applied(pair, sender, central)
        before = psutil.Process(sender.pid).memory_info().rss
        with locked_parameters():
            for number in range(1, 30):
                large(number).save(using=pair.site)
            time.sleep(4 * CALM)
            central.wait_for_line("site/site_sqlite: the transaction up to .* has been at work", 10)
            assert psutil.Process(sender.pid).memory_info().rss - before < 40 << 20
            assert position(pair)[1] == 1
        wait_until_applied(pair, sender, central, within=30)
        for end in (central, sender):
            assert not [line for line in end.lines if "Nothing came" in line or "gone" in line]
    assert len([line for line in sender.lines if "Connected to" in line]) == 1
    offset = Offset.objects.using(pair.central).get()
    assert (offset.records_applied, offset.inserts_met) == (30, 0)
    assert compare([Parameter], pair.site, pair.central) == []
