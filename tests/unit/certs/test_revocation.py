"""Reading lists of revoked certificates: whatever is wrong with one is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from sockstream.certs import revocation
from sockstream.exceptions import SockstreamError
from tests.unit.chains import Level
from tests.unit.trust import NOW, YEAR


@pytest.fixture
def root() -> Level:
    return Level.root()


def refusal(path: Path) -> str:
    with pytest.raises(SockstreamError) as found:
        revocation.read(path)
    assert found.value.code == "crl-unreadable"
    assert found.value.mend
    return found.value.words


def test_every_list_in_the_file_counts_for_its_own_authority(root: Level, tmp_path: Path) -> None:
    other = Level.root("Another")
    path = tmp_path / "crl.pem"
    path.write_bytes(b"Of Monday:\n" + root.revokes(7, number=3) + b"\n" + other.revokes(8))
    first, second = revocation.read(path)
    assert (first.issuer, set(first.revoked), first.number) == (root.cert.subject, {7}, 3)
    assert (second.issuer, set(second.revoked)) == (other.cert.subject, {8})
    assert revocation.is_signed_by(first, root.cert)
    assert not revocation.is_signed_by(first, other.cert)


def test_a_list_in_der(root: Level, tmp_path: Path) -> None:
    path = tmp_path / "root.crl"
    listed = x509.load_pem_x509_crl(root.revokes(7))
    path.write_bytes(listed.public_bytes(Encoding.DER))
    assert set(revocation.read(path)[0].revoked) == {7}
    path.write_bytes(listed.public_bytes(Encoding.DER)[:40])
    refusal(path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN X509 CRL-----\nMIIB\n"])
def test_a_file_that_is_no_list(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(content)
    assert refusal(path).endswith(f"{path} cannot be read: it holds no PEM list")


def test_a_list_of_the_same_name_by_another_key(root: Level, tmp_path: Path) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(root.revokes(7, key=Level.root().key))
    assert not revocation.is_signed_by(revocation.read(path)[0], root.cert)


@pytest.mark.parametrize(
    "extension",
    [
        x509.DeltaCRLIndicator(1),
        x509.IssuingDistributionPoint(None, None, False, True, None, False, False),
        x509.IssuingDistributionPoint(None, None, False, False, None, True, False),
    ],
    ids=["a delta", "authorities only", "indirect"],
)
def test_a_list_that_does_not_name_everybody(
    root: Level, tmp_path: Path, extension: x509.ExtensionType
) -> None:
    builder = x509.CertificateRevocationListBuilder(root.cert.subject, NOW, NOW + YEAR)
    builder = builder.add_extension(extension, critical=True)
    path = tmp_path / "crl.pem"
    path.write_bytes(builder.sign(root.key, hashes.SHA256()).public_bytes(Encoding.PEM))
    assert "it is no whole list of one authority" in refusal(path)


def test_the_list_of_our_own_authority_is_alone_and_signed_by_it(
    root: Level, tmp_path: Path
) -> None:
    path = tmp_path / "crl.pem"
    path.write_bytes(root.revokes(7))
    assert set(revocation.read_own(path, root.cert).revoked) == {7}
    with pytest.raises(SockstreamError, match="no authority of ours has signed it"):
        revocation.read_own(path, Level.root("Another").cert)
    path.write_bytes(root.revokes(7) + root.revokes(8))
    with pytest.raises(SockstreamError, match="it holds 2 lists"):
        revocation.read_own(path, root.cert)
