"""The authority: values in, PEM out. No disk, no clock.

The profile is that of RFC 5280, tight enough for OpenSSL's X509_STRICT: EC P-256, SHA-256, critical
basic constraints and key usage, key identifiers, and an extended key usage that is a server's or a
client's, never both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .names import is_address

SITE_URI = "urn:sockstream:site:"
NAME = "sockstream authority"
"""How the name of each authority begins that is made here."""
SKEW = timedelta(minutes=5)
"""How far a peer's clock may be behind ours on the day a certificate is made."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes


@dataclass(frozen=True)
class Revocation:
    """A certificate that is not to be accepted any more."""

    serial: int
    at: datetime


class Authority:
    """Signs certificates and revocation lists. Times are aware datetimes."""

    def __init__(self, pair: Pair) -> None:
        """Raises ValueError or TypeError if `pair` does not parse or its key is not an EC one."""
        self.cert = x509.load_pem_x509_certificate(pair.cert)
        key = serialization.load_pem_private_key(pair.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic curve key")
        if key.public_key() != self.cert.public_key():
            raise ValueError("the authority's key does not belong to its certificate")
        self._key = key

    @classmethod
    def new(cls, now: datetime, days: int) -> Pair:
        """A new self-signed authority. Its name is random, so that two never look alike."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _common_name(f"{NAME} {token_hex(4)}")
        usage = _key_usage(key_cert_sign=True, crl_sign=True)
        builder = (
            _builder(name, name, key.public_key(), now, now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
        )
        return _pair(builder.sign(key, hashes.SHA256()), key)

    def server(self, hosts: Sequence[str], now: datetime, days: int) -> Pair:
        """A certificate for `hosts`, DNS names and IP addresses; the first is the common name."""
        names = [
            x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)
            for host in hosts
        ]
        return self._leaf(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, now, days)

    def client(self, name: str, now: datetime, days: int) -> Pair:
        """A certificate for the site `name`: the common name, and the same in a URI."""
        uri = x509.UniformResourceIdentifier(SITE_URI + name)
        return self._leaf(name, [uri], ExtendedKeyUsageOID.CLIENT_AUTH, now, days)

    def revocation_list(
        self, revoked: Iterable[Revocation], number: int, now: datetime, until: datetime
    ) -> bytes:
        """A signed CRL, PEM, that is good until `until`. `number` grows from list to list."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.cert.subject)
            .last_update(now - SKEW)
            .next_update(until)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        for entry in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(entry.serial)
                .revocation_date(entry.at)
                .build()
            )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _leaf(
        self,
        name: str,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: datetime,
        days: int,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(now + timedelta(days=days), self.cert.not_valid_after_utc)
        builder = (
            _builder(_common_name(name), self.cert.subject, key.public_key(), now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        return _pair(builder.sign(self._key, hashes.SHA256()), key)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        own = self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    pkcs8 = serialization.PrivateFormat.PKCS8
    return Pair(cert.public_bytes(pem), key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
