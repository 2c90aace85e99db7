"""Lists of several authorities that come, go and change while both ends run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.databases import Databases, Pair
from tests.ends import ReceiverProcess, SenderProcess, is_applied, wait_until, wait_until_applied
from tests.unit.chains import Level
from tests.unit.trust import NOW
from tests.zoo.models import Slot

PAIR = Pair("site_sqlite", "central_sqlite")
QUICK = {"RECHECK": 0.2}
YESTERDAY = NOW - timedelta(days=1)


class Company:
    """A root, an authority below it, and one below that, which issues for both ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Level.root()
        self.middle = self.root.below("Middle", serial=50)
        self.issuing = self.middle.below("Issuing", serial=51)
        self.crl = folder / "crl.pem"
        (folder / "ca.crt").write_bytes(self.root.pem)
        self.issuing.server().write(folder, "localhost")
        self.issuing.site("site").write(folder, "site")

    def settings(self, name: str) -> dict[str, str]:
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        found = {"CA": str(self.folder / "ca.crt"), "CERT": str(cert), "KEY": str(key)}
        # The list is central's alone: a site that has one looks there for central.
        return found | ({"CRL": str(self.crl)} if name == "localhost" and self.crl.exists() else {})

    def has(self, *lists: bytes) -> None:
        fresh = self.folder / "fresh"
        fresh.write_bytes(b"".join(lists))
        fresh.replace(self.crl)

    @property
    def nobody(self) -> tuple[bytes, bytes, bytes]:
        """The lists of all three, which are empty."""
        return self.root.revokes(), self.middle.revokes(), self.issuing.revokes()


@pytest.fixture
def company(tmp_path: Path, databases: Databases) -> Company:
    databases.clean(PAIR.site, PAIR.central)
    (tmp_path / "lists").mkdir()
    company = Company(tmp_path)
    company.crl = tmp_path / "lists" / "company.pem"
    return company


@contextmanager
def both(company: Any, **settings: Any) -> Iterator[tuple[ReceiverProcess, SenderProcess]]:
    with (
        ReceiverProcess(PAIR.central, company, settings=QUICK | settings) as receiver,
        SenderProcess(PAIR.site, company, receiver.address) as sender,
    ):
        yield receiver, sender
        assert sender.stop() == 0, sender.log
        assert receiver.stop() == 0, receiver.log
        for end in (receiver, sender):
            assert "Traceback" not in end.log


def arrives(*ends: Any) -> None:
    """What is written now arrives."""
    Slot(name="now").save(using=PAIR.site)
    wait_until_applied(PAIR, *ends, within=20)


@pytest.mark.parametrize("above", ["the root", "the middle"])
def test_an_authority_is_revoked_while_its_sites_are_connected(
    company: Company, above: str
) -> None:
    """The site hears it, wherever in the chain that authority is, and goes on when it is not."""
    company.has(*company.nobody)
    with both(company) as (receiver, sender):
        arrives(receiver, sender)
        assert "WARNING There is no list" not in receiver.log
        root, middle, issuing = company.nobody
        if above == "the root":
            company.has(company.root.revokes(50, number=2), middle, issuing)
        else:
            company.has(root, company.middle.revokes(51, number=2), issuing)
        name = "Middle" if above == "the root" else "Issuing"
        sender.wait_for_line(
            f"The authority '{name}' .* above the certificate of 'site', was revoked"
        )
        receiver.wait_for_line("may not go on: auth-revoked")
        Slot(name="kept").save(using=PAIR.site)
        assert not is_applied(PAIR)
        company.has(*company.nobody)
        receiver.wait_for_line("is older than the one that was read before")
        wait_until_applied(PAIR, receiver, sender, within=30)


def test_a_list_that_is_taken_away_lets_nobody_in(company: Company) -> None:
    """Nor does SIGHUP; only a restart does, and then it is said."""
    company.has(*company.nobody)
    with both(company) as (receiver, sender):
        arrives(receiver, sender)
        company.crl.unlink()
        sender.wait_for_line("The list of revoked certificates .* cannot be read: .*No such file")
        receiver.signal(signal.SIGHUP)
        receiver.wait_for_line("SIGHUP: from the next handshake on")
        Slot(name="kept").save(using=PAIR.site)
        sender.signal(signal.SIGHUP)
        wait_until(lambda: sender.log.count("cannot be read") > 1, "another refusal", 10)
        assert not is_applied(PAIR)
        company.has(*company.nobody)
        wait_until_applied(PAIR, receiver, sender, within=30)


def test_what_is_wrong_with_a_list_is_said_at_the_start_and_at_sighup(company: Company) -> None:
    company.has(company.root.revokes(until=YESTERDAY), company.issuing.revokes())
    with both(company) as (receiver, sender):
        arrives(receiver, sender)
        late = "of 'Company Root' is out of date since"
        lacks = "holds no list of revoked certificates that 'Middle' has signed"
        receiver.wait_for_line(f"WARNING .*{late}")
        receiver.wait_for_line(f"WARNING .*{lacks}")
        assert (receiver.log.count(late), receiver.log.count(lacks)) == (1, 1)
        receiver.signal(signal.SIGHUP)
        wait_until(lambda: (receiver.log.count(late), receiver.log.count(lacks)) == (2, 2), "again")
        arrives(receiver, sender)


def test_a_project_may_want_to_know_for_certain(company: Company) -> None:
    company.has(company.root.revokes(until=YESTERDAY), *company.nobody[1:])
    with both(company, CRL_STRICT=True) as (receiver, sender):
        sender.wait_for_line("of 'Company Root' is out of date since .*: nobody knows")
        Slot(name="kept").save(using=PAIR.site)
        assert not is_applied(PAIR)
        company.has(*company.nobody)
        wait_until_applied(PAIR, receiver, sender, within=30)


@pytest.mark.parametrize("was_there", [True, False])
def test_a_central_that_starts_without_a_list_says_so(company: Company, was_there: bool) -> None:
    if was_there:
        company.crl = company.folder / "crl.pem"
        company.has(*company.nobody)
        with both(company) as ends:
            arrives(*ends)
            assert "There is no list" not in ends[0].log
        company.crl.unlink()
    with both(company) as (receiver, sender):
        receiver.wait_for_line(
            "WARNING There is no list of revoked certificates: .*crl.pem does not"
        )
        arrives(receiver, sender)
        assert "sockstream certs" not in receiver.log
