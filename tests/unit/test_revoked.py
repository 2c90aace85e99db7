"""Who is revoked by which list, and where nobody can know."""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from sockstream import tls
from sockstream.certs import index
from sockstream.exceptions import SockstreamError
from sockstream.tls import revoked
from tests.unit.chains import Leaf, Level
from tests.unit.ends import Meeting, told
from tests.unit.trust import NOW, YEAR, Trust

YESTERDAY = NOW - timedelta(days=1)


class Place:
    """The files of one end: the authorities that it trusts, and their lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.crt"
        self.crl = folder / "crl.pem"

    def trusts(self, *levels: Level) -> None:
        self.ca.write_bytes(b"".join(level.pem for level in levels))

    def has(self, *lists: bytes) -> None:
        fresh = self.folder / "fresh"
        fresh.write_bytes(b"".join(lists))
        fresh.replace(self.crl)

    def judges(self, leaf: Leaf, *, strict: bool = False) -> str:
        """With which error the check of its owner ends; "" if it gets through."""
        return self.refusal(leaf.peer(), strict=strict).partition(":")[0]

    def refusal(self, peer: tls.Peer, *, strict: bool = False) -> str:
        try:
            tls.check_revoked(peer, self.crl, self.ca, strict=strict)
        except SockstreamError as error:
            return f"{error.code}: {error}" if error.mend else "no mend"
        return ""

    def lacks(self, *issuers: Level) -> list[str]:
        found = tls.shortcomings(None, self.ca, [issuer.cert for issuer in issuers])
        return [error.code for error in found]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def root() -> Level:
    return Level.root()


def test_who_is_on_the_list_is_refused_and_who_is_not_is_not(place: Place, root: Level) -> None:
    good, bad = root.site(serial=6), root.site(serial=7)
    place.trusts(root)
    place.has(root.revokes(7))
    assert place.judges(good) == ""
    assert place.judges(bad) == "auth-revoked"


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_serial_of_another_authority_revokes_nobody(
    place: Place, root: Level, levels: int
) -> None:
    chain = [root]
    for number in range(levels):
        chain.append(chain[-1].below(f"Issuing {number}", serial=50 + number))
    site = chain[-1].site(serial=77)
    place.trusts(root)
    place.has(*(level.revokes(77) for level in chain[:-1]), chain[-1].revokes())
    assert place.judges(site) == ""
    place.has(*(level.revokes() for level in chain[:-1]), chain[-1].revokes(77))
    assert place.judges(site) == "auth-revoked"


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("trusted", ["the root", "all"])
def test_an_authority_that_is_revoked_takes_all_below_with_it(
    place: Place, root: Level, levels: int, trusted: str
) -> None:
    chain = [root]
    for number in range(levels):
        chain.append(chain[-1].below(f"Issuing {number}", serial=50 + number))
    site, cousin = chain[-1].site(), root.site()
    place.trusts(*(chain if trusted == "all" else chain[:1]))
    for above, below in pairwise(chain):
        lists = [level.revokes() for level in chain if level is not above]
        place.has(*lists, above.revokes(below.cert.serial_number))
        words = place.refusal(site.peer())
        assert words.startswith("auth-revoked: The authority ")
        assert f"The authority {index.label(below.cert.subject)} (serial " in words
        assert place.judges(cousin) == ""


def test_two_authorities_of_different_roots_in_one_file(place: Place, root: Level) -> None:
    other = Level.root("Another Root", serial=1)
    place.trusts(root, other)
    place.has(root.revokes(7), other.revokes(8))
    assert [place.judges(by.site(serial=7)) for by in (root, other)] == ["auth-revoked", ""]
    assert [place.judges(by.site(serial=8)) for by in (root, other)] == ["", "auth-revoked"]


def test_without_a_list_of_its_issuer_nobody_knows(place: Place, root: Level) -> None:
    """For instance if there is the root's list only."""
    below = root.below("Issuing")
    place.trusts(root, below)
    place.has(root.revokes())
    words = place.refusal(below.site().peer())
    assert words.startswith("crl-missing: ")
    assert "holds no list of revoked certificates that 'Issuing' has signed" in words
    assert place.judges(root.site()) == ""
    assert place.lacks() == ["crl-missing"]
    place.has(root.revokes(), below.revokes())
    assert place.judges(below.site()) == ""
    assert place.lacks() == []


def test_without_a_list_of_an_authority_higher_up_it_is_said(place: Place, root: Level) -> None:
    below = root.below("Issuing")
    place.trusts(root)
    place.has(below.revokes(7))
    assert place.judges(below.site()) == ""
    assert place.judges(below.site(serial=7)) == "auth-revoked"
    assert place.judges(below.site(), strict=True) == "crl-missing"
    assert place.lacks(below, root) == ["crl-missing"]
    place.has(below.revokes(), root.revokes())
    assert place.judges(below.site(), strict=True) == ""
    assert place.lacks(below, root) == []


def test_a_list_that_somebody_else_signed_in_its_name(place: Place, root: Level) -> None:
    below = root.below("Issuing")
    place.trusts(root)
    place.has(root.revokes(), below.revokes(key=Level.root().key))
    assert place.judges(below.site()) == "crl-missing"
    place.has(root.revokes(key=Level.root().key), below.revokes())
    words = place.refusal(below.site().peer())
    assert words.startswith("crl-unreadable: ")
    assert "'Company Root' has not signed the list that bears its name" in words


def test_a_list_that_was_altered(place: Place, root: Level) -> None:
    place.trusts(root)
    altered = bytearray(root.revokes(7))
    at = altered.index(b"\n", len(altered) // 2) + 3
    altered[at] = ord("A") if altered[at] != ord("A") else ord("B")
    place.has(bytes(altered))
    assert place.judges(root.site()) == "crl-unreadable"


def test_an_authority_with_a_new_key_signs_for_the_old_one_too(place: Place, root: Level) -> None:
    renewed = Level.root()
    assert renewed.cert.subject == root.cert.subject
    old = root.site(serial=7)
    place.trusts(root, renewed)
    place.has(renewed.revokes(7))
    assert place.judges(old) == "auth-revoked"
    place.trusts(root)
    assert place.judges(old) == "crl-unreadable"


def test_a_list_that_is_out_of_date_is_said_and_refuses_whom_it_names(
    place: Place, root: Level
) -> None:
    place.trusts(root)
    place.has(root.revokes(7, until=YESTERDAY))
    assert place.judges(root.site(serial=7)) == "auth-revoked"
    assert place.judges(root.site(serial=8)) == ""
    assert place.judges(root.site(serial=8), strict=True) == "crl-expired"
    [error] = tls.shortcomings(place.crl, place.ca)
    assert error.code == "crl-expired"
    assert f"is out of date since {YESTERDAY:%Y-%m-%d}" in error.words
    place.has(root.revokes(7, until=YESTERDAY), root.revokes(7))
    assert place.judges(root.site(serial=8), strict=True) == ""
    assert place.lacks() == []


def test_no_list_at_all_is_said_and_refuses_only_if_that_is_wanted(
    place: Place, root: Level
) -> None:
    place.trusts(root)
    peer = root.site().peer()
    tls.check_revoked(peer, None, place.ca)
    tls.check_revoked(peer, "", place.ca)
    with pytest.raises(SockstreamError, match="No such file"):
        tls.check_revoked(peer, None, place.ca, strict=True)
    [error] = tls.shortcomings(None, place.ca)
    assert error.code == "crl-missing"
    assert f"{place.crl} does not exist. Certificates that were revoked are accepted" in error.words


def test_the_list_beside_the_authority_is_found(place: Place, root: Level) -> None:
    place.trusts(root)
    place.has(root.revokes(7))
    with pytest.raises(SockstreamError, match="was revoked on"):
        tls.check_revoked(root.site(serial=7).peer(), None, place.ca)


def test_who_takes_the_list_away_lets_nobody_in(place: Place, root: Level) -> None:
    """Whether it was there at the start, or came meanwhile."""
    place.trusts(root)
    peer = root.site().peer()
    tls.check_revoked(peer, None, place.ca)
    place.has(root.revokes())
    tls.check_revoked(peer, None, place.ca)
    place.crl.unlink()
    with pytest.raises(SockstreamError, match="cannot be read"):
        tls.check_revoked(peer, None, place.ca)
    assert place.lacks() == ["crl-unreadable"]


def test_a_list_that_is_older_than_the_one_before_is_said(place: Place, root: Level) -> None:
    place.trusts(root)
    place.has(root.revokes(7, number=4))
    assert place.lacks() == []
    place.has(root.revokes(number=3))
    assert place.lacks() == ["crl-older"]
    place.has(root.revokes(7, number=5))
    assert place.lacks() == []


def test_a_list_that_changes_is_read_again(place: Place, root: Level) -> None:
    site = root.site(serial=7)
    place.trusts(root)
    place.has(root.revokes())
    assert place.judges(site) == ""
    place.has(root.revokes(7))
    assert place.judges(site) == "auth-revoked"


def test_a_change_within_the_clock_s_grain_is_seen(place: Place, root: Level) -> None:
    site = root.site(serial=7)
    place.trusts(root)
    place.has(root.revokes(8))
    stamp = place.crl.stat()
    assert place.judges(site) == ""
    place.has(root.revokes(7))
    os.utime(place.crl, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert place.judges(site) == "auth-revoked"


def test_a_list_that_does_not_change_is_read_once(place: Place, root: Level) -> None:
    place.trusts(root)
    place.has(root.revokes())
    before = revoked._read.cache_info()
    for _ in range(3):
        assert place.judges(root.site()) == ""
    after = revoked._read.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)


def test_a_list_that_is_named_but_not_there(place: Place, root: Level, tmp_path: Path) -> None:
    place.trusts(root)
    assert place.judges(root.site()) == "crl-unreadable"
    place.crl.mkdir()
    assert place.judges(root.site()) == "crl-unreadable"
    place.crl.rmdir()
    place.has(root.revokes())
    place.ca.unlink()
    assert place.judges(root.site()) == "crl-unreadable"


def test_who_has_no_chain_is_not_let_in(place: Place, root: Level) -> None:
    place.trusts(root)
    place.has(root.revokes())
    nobody = tls.Peer("site", 7, NOW + YEAR, b"")
    assert place.refusal(nobody).startswith("crl-unreadable: ")


def test_the_mend_fits_who_made_the_authority(place: Place, root: Level, tmp_path: Path) -> None:
    place.trusts(root)
    place.has(root.revokes(7))
    assert "sockstream certs" not in place.refusal(root.site(serial=7).peer())
    place.has(root.below("x").revokes())
    assert "sockstream certs" not in place.refusal(root.site().peer())
    trust = Trust(tmp_path / "tool")
    [error] = tls.shortcomings(None, trust.ca)
    assert "`sockstream certs` makes it" in error.mend


def held(
    place: Place, central: Leaf, site: Leaf, *, chain: bool = True
) -> tuple[tls.Peer | SockstreamError, tls.Peer | SockstreamError]:
    """What both ends find out of each other, over a real connection."""
    folder = place.folder
    there = tls.server_context(place.ca, *central.write(folder, "central"))
    cert, key = site.write(folder, "site", chain=chain)
    here = tls.client_context(place.ca, cert, key)
    crl = place.crl if place.crl.exists() else None
    return Meeting(there, here, "localhost", crl=crl, ca=place.ca).held()


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("trusted", ["the root", "all", "the last"])
def test_the_whole_chain_that_a_site_showed_is_looked_at(
    place: Place, root: Level, levels: int, trusted: str
) -> None:
    """An authority is trusted alone too, without the ones above it."""
    chain = [root]
    for number in range(levels):
        chain.append(chain[-1].below(f"Issuing {number}", serial=50 + number))
    place.trusts(*{"the root": chain[:1], "all": chain, "the last": chain[-1:]}[trusted])
    site, central = chain[-1].site(), chain[-1].server()
    at_central, at_site = held(place, central, site)
    assert isinstance(at_central, tls.Peer)
    assert isinstance(at_site, tls.Peer)
    seen = [step.issuer for step in at_central.chain]
    above = [level.cert for level in reversed(chain)]
    assert seen == (above[:1] if trusted == "the last" else above)
    assert [step.serial for step in at_central.chain] == [
        cert.serial_number for cert in [site.cert, *seen[:-1]]
    ]
    for revoking in range(levels if trusted != "the last" else 0):
        lists = [level.revokes() for level in chain if level is not chain[revoking]]
        place.has(*lists, chain[revoking].revokes(50 + revoking))
        at_central, _ = held(place, central, site)
        assert told(at_central)[0] == "auth-revoked"


def test_an_authority_that_is_trusted_alone_hides_no_revocation_of_another(
    place: Place, root: Level
) -> None:
    """With one of them in the file, OpenSSL ends each chain at the first authority in it."""
    below, alone = root.below("Issuing", serial=50), Level.root("Elsewhere").below("Alone")
    place.trusts(root, below, alone)
    site, central = below.site(), below.server()
    place.has(root.revokes(), below.revokes())
    at_central, _ = held(place, central, site)
    assert isinstance(at_central, tls.Peer)
    assert [step.issuer for step in at_central.chain] == [below.cert, root.cert]
    place.has(root.revokes(50), below.revokes())
    at_central, _ = held(place, central, site)
    assert told(at_central)[0] == "auth-revoked"


def test_an_intermediate_that_nobody_shows(place: Place, root: Level) -> None:
    below = root.below("Issuing")
    place.trusts(root)
    folder = place.folder
    there = tls.server_context(place.ca, *below.server().write(folder, "central"))
    cert, key = below.site().write(folder, "site", chain=False)
    at_central, at_site = Meeting(
        there, tls.client_context(place.ca, cert, key), "localhost"
    ).held()
    for found in (at_central, at_site):
        code, line = told(found)
        assert code == "tls-unknown-ca"
        assert "if an intermediate authority issued it, append that authority's certificate" in line
        assert "sockstream certs" not in line
