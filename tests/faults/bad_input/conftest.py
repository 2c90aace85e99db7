"""Central and a site in good order run through all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.ends import Certificates
from tests.faults.bad_input.ends import CENTRAL, OTHER, SITE, Receiver, Sender, World, certs
from tests.faults.bad_input.papers import Papers

OTHERS = "other"
# Who is revoked meanwhile is told soon.
WATCHFUL = {"RECHECK": 0.2}


@pytest.fixture(scope="package")
def running(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world of this folder's tests. What is wrong must never change it."""
    databases.clean(SITE, OTHER, CENTRAL)
    certificates = Certificates.make(tmp_path_factory.mktemp("certificates"))
    certs(certificates.folder, "client", OTHERS)
    settings = certificates.settings(OTHERS)
    with (
        Receiver(CENTRAL, certificates, settings=WATCHFUL) as receiver,
        Sender(OTHER, certificates, receiver.address, settings=settings) as neighbour,
    ):
        world = World(receiver, neighbour.wait_until_connected(), certificates)
        yield world
        world.nothing_is_lost()
        assert neighbour.stop() == 0, neighbour.log
        assert receiver.stop() == 0, receiver.log
        for end in (neighbour, receiver):
            assert "Traceback" not in "\n".join(end.lines)


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """A site with unsent writes. The other site's arrive before and after, over one connection."""
    running.write()
    running.other_goes_on()
    connected = running.neighbour.lines[:]
    running.listen()
    yield running
    running.other_goes_on()
    assert running.neighbour.lines == connected, "the other site had to connect again"


@pytest.fixture
def mended(world: World) -> Iterator[World]:
    """The same. Afterwards all that the site wrote has to arrive, with nothing wrong any more."""
    yield world
    world.nothing_is_lost()


@pytest.fixture
def papers(running: World, tmp_path: Path) -> Papers:
    """Certificates with something wrong about them, by the authority of `world` and by another."""
    return Papers(running.certificates.folder, tmp_path)
