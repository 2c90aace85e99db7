"""Reading lists of revoked certificates: whatever is wrong with one, nobody gets through."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sockstream import tls
from sockstream.certs import revocation
from sockstream.exceptions import SockstreamError
from tests.unit.trust import NOW, Trust, serial_of


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path / "trust")


def peer(cert: Path) -> tls.Peer:
    return tls.Peer("site-a", serial_of(cert), datetime.now(UTC), b"")


def code_of(checked: tls.Peer, crl: Path, ca: Path) -> str:
    """With which error the check of a peer ends; "" if it gets through."""
    try:
        tls.check_revoked(checked, crl, ca)
    except SockstreamError as error:
        return error.code if error.mend else "no mend"
    return ""


def test_who_is_on_the_list_is_refused_and_who_is_not_is_not(trust: Trust) -> None:
    good, bad = trust.client()[0], trust.client()[0]
    crl = trust.revocations([bad])
    assert code_of(peer(bad), crl, trust.ca) == "auth-revoked"
    assert code_of(peer(good), crl, trust.ca) == ""


def test_a_list_that_changes_is_read_again(trust: Trust) -> None:
    cert, _ = trust.client()
    crl = trust.revocations()
    assert code_of(peer(cert), crl, trust.ca) == ""
    trust.revocations([cert]).replace(crl)
    assert code_of(peer(cert), crl, trust.ca) == "auth-revoked"


def test_a_list_that_does_not_change_is_read_once(trust: Trust) -> None:
    cert, _ = trust.client()
    crl = trust.revocations()
    before = revocation._read.cache_info()
    for _ in range(3):
        assert code_of(peer(cert), crl, trust.ca) == ""
    after = revocation._read.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 2)


def test_an_expired_list(trust: Trust) -> None:
    made = NOW - timedelta(days=2)
    crl = trust.revocations(made=made, until=NOW - timedelta(days=1))
    with pytest.raises(SockstreamError) as found:
        tls.check_revoked(peer(trust.client()[0]), crl, trust.ca)
    assert found.value.code == "crl-expired"
    assert f"{crl} expired on" in found.value.words


def test_a_list_that_expires_while_it_is_cached(trust: Trust) -> None:
    crl = trust.revocations(until=NOW + timedelta(hours=1))
    assert revocation.current(crl, trust.ca, NOW).revoked == {}
    with pytest.raises(SockstreamError) as found:
        revocation.current(crl, trust.ca, NOW + timedelta(hours=2))
    assert found.value.code == "crl-expired"


def test_a_list_that_another_authority_signed(trust: Trust, tmp_path: Path) -> None:
    stranger = Trust(tmp_path / "stranger")
    crl = stranger.revocations()
    with pytest.raises(SockstreamError) as found:
        tls.check_revoked(peer(trust.client()[0]), crl, trust.ca)
    assert found.value.code == "crl-unreadable"
    assert "no authority of ours has signed it" in found.value.words


def test_a_list_that_was_altered(trust: Trust) -> None:
    cert, _ = trust.client()
    crl = trust.revocations([cert])
    lines = crl.read_text().splitlines(keepends=True)
    lines[-2] = lines[-2][0] + ("A" if lines[-2][1] != "A" else "B") + lines[-2][2:]
    crl.write_text("".join(lines))
    assert code_of(peer(cert), crl, trust.ca) == "crl-unreadable"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN X509 CRL-----\nMIIB\n"])
def test_a_file_that_is_no_list(trust: Trust, content: bytes) -> None:
    crl = trust.folder / "crl.pem"
    crl.write_bytes(content)
    with pytest.raises(SockstreamError) as found:
        tls.check_revoked(peer(trust.client()[0]), crl, trust.ca)
    assert found.value.code == "crl-unreadable"
    assert found.value.words.endswith(f"{crl} cannot be read: it holds no PEM list")


def test_a_list_that_is_named_but_not_there(trust: Trust, tmp_path: Path) -> None:
    cert, _ = trust.client()
    assert code_of(peer(cert), tmp_path / "nowhere.pem", trust.ca) == "crl-unreadable"
    assert code_of(peer(cert), tmp_path, trust.ca) == "crl-unreadable"
    assert code_of(peer(cert), trust.revocations(), tmp_path / "nowhere.crt") == "crl-unreadable"


def test_every_list_in_the_file_counts(trust: Trust, tmp_path: Path) -> None:
    other = Trust(tmp_path / "other")
    first, second = trust.client()[0], other.client()[0]
    both = tmp_path / "crl.pem"
    both.write_bytes(
        trust.revocations([first]).read_bytes() + other.revocations([second]).read_bytes()
    )
    ca = tmp_path / "ca.crt"
    ca.write_bytes(trust.ca.read_bytes() + other.ca.read_bytes())
    assert code_of(peer(first), both, ca) == "auth-revoked"
    assert code_of(peer(second), both, ca) == "auth-revoked"
    assert code_of(peer(first), both, trust.ca) == "crl-unreadable"


def test_a_change_within_the_clock_s_grain_is_seen(trust: Trust) -> None:
    cert, _ = trust.client()
    crl = trust.revocations()
    stamp = crl.stat()
    assert code_of(peer(cert), crl, trust.ca) == ""
    fresh = trust.revocations([cert])
    os.utime(fresh, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    fresh.replace(crl)
    assert code_of(peer(cert), crl, trust.ca) == "auth-revoked"
