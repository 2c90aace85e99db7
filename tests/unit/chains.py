"""Authorities that are not our tool's: any number of levels, with lists of revoked ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from sockstream import tls
from sockstream.certs import index
from sockstream.certs.authority import SITE_URI
from tests.unit.trust import CLIENT_AUTH, NOW, SERVER_AUTH, YEAR, Paths

PEM = serialization.Encoding.PEM
Key = ec.EllipticCurvePrivateKey


@dataclass
class Level:
    """An authority: the root, or one that another one issued (`above`)."""

    cert: x509.Certificate
    key: Key
    above: Level | None = None

    @classmethod
    def root(cls, name: str = "Company Root", serial: int = 1) -> Level:
        key = _key()
        return cls(_signed(name, key, serial, None, key, ca=True), key)

    def below(self, name: str, serial: int = 0) -> Level:
        """Another authority that this one issues."""
        key = _key()
        return Level(_signed(name, key, serial, self.cert, self.key, ca=True), key, self)

    def site(self, name: str = "site", serial: int = 0) -> Leaf:
        uri = x509.UniformResourceIdentifier(SITE_URI + name)
        return self._leaf(name, serial, [uri], CLIENT_AUTH)

    def server(self, serial: int = 0) -> Leaf:
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        return self._leaf("localhost", serial, names, SERVER_AUTH)

    def revokes(
        self, *serials: int, number: int = 1, until: datetime = NOW + YEAR, key: Key | None = None
    ) -> bytes:
        """Its list, PEM; signed with another `key` if one is given."""
        made = min(NOW, until) - timedelta(days=1)
        builder = x509.CertificateRevocationListBuilder(self.cert.subject, made, until)
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for serial in serials:
            entry = x509.RevokedCertificateBuilder(serial, made).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(PEM)

    @property
    def pem(self) -> bytes:
        return self.cert.public_bytes(PEM)

    def _leaf(
        self,
        name: str,
        serial: int,
        names: Sequence[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
    ) -> Leaf:
        key = _key()
        cert = _signed(name, key, serial, self.cert, self.key, purpose=purpose, names=names)
        return Leaf(cert, key, self)


@dataclass
class Leaf:
    """A site's certificate, or central's."""

    cert: x509.Certificate
    key: Key | rsa.RSAPrivateKey
    issuer: Level

    def peer(self) -> tls.Peer:
        """What its owner is to the other end."""
        steps, cert = [], self.cert
        above: Level | None = self.issuer
        while above is not None:
            steps.append(tls.Step(index.label(cert.subject), cert.serial_number, above.cert))
            cert, above = above.cert, above.above
        fingerprint = self.cert.fingerprint(hashes.SHA256())
        ends = self.cert.not_valid_after_utc
        return tls.Peer("site", self.cert.serial_number, ends, fingerprint, tuple(steps))

    def resigned(self) -> Leaf:
        """The same with the key that it has now, of whatever kind."""
        builder = x509.CertificateBuilder(
            self.issuer.cert.subject, self.cert.subject, self.key.public_key(), 99, NOW, NOW + YEAR
        )
        for extension in self.cert.extensions:
            if not isinstance(extension.value, x509.SubjectKeyIdentifier):
                builder = builder.add_extension(extension.value, extension.critical)
        return Leaf(builder.sign(self.issuer.key, hashes.SHA256()), self.key, self.issuer)

    def write(self, folder: Path, name: str, *, chain: bool = True) -> Paths:
        """Its files; `chain`: with the authorities between it and the root."""
        between, level = b"", self.issuer
        while chain and level.above is not None:
            between, level = between + level.pem, level.above
        cert, key = folder / f"{name}.crt", folder / f"{name}.key"
        cert.write_bytes(self.cert.public_bytes(PEM) + between)
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key.write_bytes(self.key.private_bytes(PEM, pkcs8, plain))
        return cert, key


def _key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _signed(
    name: str,
    key: Key,
    serial: int,
    issuer: x509.Certificate | None,
    by: Key,
    *,
    ca: bool = False,
    purpose: x509.ObjectIdentifier | None = None,
    names: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
        .add_extension(identifier, critical=False)
        .add_extension(above, critical=False)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(usage, critical=True)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(by, hashes.SHA256())
