"""What stands in certificates. That OpenSSL accepts them, and how, test_tls.py shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from sockstream.certs.authority import SKEW, Authority, Pair, Revocation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Authority.new(NOW, 3650)


@pytest.fixture(scope="module")
def authority(pair: Pair) -> Authority:
    return Authority(pair)


@pytest.fixture(scope="module", params=["authority", "server", "client"])
def each(request: pytest.FixtureRequest, pair: Pair, authority: Authority) -> Pair:
    """One of each kind."""
    if request.param == "server":
        return authority.server(["localhost"], NOW, 30)
    if request.param == "client":
        return authority.client("site", NOW, 30)
    return pair


def parsed(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert)


def test_keys_are_p_256_and_signatures_sha_256(each: Pair, authority: Authority) -> None:
    cert = parsed(each)
    key = load_pem_private_key(each.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert key.public_key() == cert.public_key()
    assert isinstance(cert.signature_hash_algorithm, hashes.SHA256)
    cert.verify_directly_issued_by(authority.cert)


def test_each_names_its_own_key_and_its_issuer_s(each: Pair, authority: Authority) -> None:
    issuer = authority.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found = parsed(each).extensions
    assert found.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value == x509.SubjectKeyIdentifier.from_public_key(parsed(each).public_key())
    assert found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == (
        issuer.digest
    )


def test_an_authority_signs_and_does_nothing_else(authority: Authority) -> None:
    found = authority.cert.extensions
    constraints = found.get_extension_for_class(x509.BasicConstraints)
    usage = found.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert usage.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
    assert usage.value.digital_signature is False


def test_two_authorities_have_different_names() -> None:
    assert parsed(Authority.new(NOW, 1)).subject != parsed(Authority.new(NOW, 1)).subject


def test_a_server_s_certificate_is_a_server_s_only(authority: Authority) -> None:
    hosts = ["central.example.org", "10.0.0.7", "::1"]
    cert = parsed(authority.server(hosts, NOW, 30))
    assert purposes(cert) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert alternative_names(cert) == [
        x509.DNSName("central.example.org"),
        x509.IPAddress(ip_address("10.0.0.7")),
        x509.IPAddress(ip_address("::1")),
    ]
    assert cert.subject.rfc4514_string() == "CN=central.example.org"
    check_leaf(cert)


def test_a_client_s_certificate_is_a_client_s_only_and_names_the_site_twice(
    authority: Authority,
) -> None:
    cert = parsed(authority.client("site-a", NOW, 30))
    assert purposes(cert) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    uri = x509.UniformResourceIdentifier("urn:sockstream:site:site-a")
    assert alternative_names(cert) == [uri]
    assert cert.subject.rfc4514_string() == "CN=site-a"
    check_leaf(cert)


def check_leaf(cert: x509.Certificate) -> None:
    constraints = cert.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert usage.critical
    assert constraints.value.ca is False
    assert usage.value.digital_signature is True
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (False, False)


def purposes(cert: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def alternative_names(cert: x509.Certificate) -> list[x509.GeneralName]:
    return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_days_count_from_now_and_clocks_may_be_behind(authority: Authority) -> None:
    cert = parsed(authority.client("site", NOW, 30))
    assert cert.not_valid_before_utc == NOW - SKEW
    assert cert.not_valid_after_utc == NOW + timedelta(days=30)


def test_nothing_outlives_the_authority(authority: Authority) -> None:
    cert = parsed(authority.client("site", NOW, 36_500))
    assert cert.not_valid_after_utc == authority.cert.not_valid_after_utc


def test_a_revocation_list_says_who_signed_it_and_until_when(authority: Authority) -> None:
    until = NOW + timedelta(days=7)
    pem = authority.revocation_list([Revocation(77, NOW)], 3, NOW, until)
    crl = x509.load_pem_x509_crl(pem)
    key = authority.cert.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)
    assert [(entry.serial_number, entry.revocation_date_utc) for entry in crl] == [(77, NOW)]
    assert (crl.issuer, crl.next_update_utc) == (authority.cert.subject, until)
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


def test_halves_of_two_authorities_are_none(pair: Pair) -> None:
    with pytest.raises(ValueError, match="does not belong"):
        Authority(Pair(pair.cert, Authority.new(NOW, 1).key))
