"""A new process for every test, so that what one has left in memory hides nothing of the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sockstream.receiver.models import Offset
from tests.databases import Databases
from tests.ends import Certificates, ReceiverProcess, SenderProcess
from tests.faults.bad_input.ends import certs
from tests.faults.hostile.ground import HOSTILE, PAIR, Ground


@pytest.fixture(scope="package")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For central, for a site, and for somebody who has stolen the key of another one."""
    made = Certificates.make(tmp_path_factory.mktemp("certificates"))
    certs(made.folder, "client", HOSTILE)
    return made


@pytest.fixture(scope="package")
def standing(
    databases: Databases, papers: Certificates
) -> Iterator[tuple[ReceiverProcess, SenderProcess]]:
    """Central, which every test starts anew, and the site beside, which connects again."""
    databases.clean(PAIR.site, PAIR.central)
    receiver = ReceiverProcess(PAIR.central, papers, settings=SETTINGS)
    with receiver, SenderProcess(PAIR.site, papers, receiver.address) as neighbour:
        neighbour.wait_until_connected()
        receiver.kill()
        yield receiver, neighbour
        assert neighbour.stop() == 0, neighbour.log


SETTINGS = {"HANDSHAKE_TIMEOUT": 2.0}


@pytest.fixture
def ground(
    standing: tuple[ReceiverProcess, SenderProcess], papers: Certificates
) -> Iterator[Ground]:
    """Central, started a moment ago, with the site beside connected."""
    receiver, neighbour = standing
    Offset.objects.using(PAIR.central).filter(source__name=HOSTILE).delete()
    receiver.start()
    try:
        receiver.wait_until_listening()
        receiver.wait_for_line(r"site/site_sqlite: connected from")
        made = Ground(receiver, neighbour, papers)
        made.one_write()
        with made.end:
            yield made
    finally:
        receiver.kill()
