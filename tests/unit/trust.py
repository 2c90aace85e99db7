"""An authority for tests, whose certificates can be made as of any day."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from sockstream.certs.authority import Authority, Pair, Revocation

NOW = datetime.now(UTC)
YEAR = timedelta(days=365)
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH

Paths = tuple[Path, Path]
"""Where a certificate and its key are."""


class Trust:
    """An authority and its files in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        pair = Authority.new(NOW - 9 * YEAR, 20 * 365)
        self.authority = Authority(pair)
        self.ca, _ = self.write("ca", pair)
        self._files = count(1)

    def write(self, name: str, pair: Pair) -> Paths:
        """Write both files of a pair; where they are."""
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        cert.write_bytes(pair.cert)
        key.write_bytes(pair.key)
        return cert, key

    def server(self, *hosts: str, made: datetime = NOW, days: int = 60) -> Paths:
        """The files of a new server certificate, for localhost if no hosts are given."""
        pair = self.authority.server(hosts or ("localhost", "127.0.0.1"), made, days)
        return self.write(f"server{next(self._files)}", pair)

    def client(self, name: str = "site", *, made: datetime = NOW, days: int = 60) -> Paths:
        """The files of a new client certificate."""
        return self.write(f"client{next(self._files)}", self.authority.client(name, made, days))

    def revocations(
        self, certs: Iterable[Path] = (), *, made: datetime = NOW, until: datetime = NOW + YEAR
    ) -> Path:
        """The file of a list that revokes `certs`."""
        revoked = [Revocation(serial_of(cert), made) for cert in certs]
        path = self.folder / f"crl{next(self._files)}.pem"
        path.write_bytes(self.authority.revocation_list(revoked, 1, made, until))
        return path


def serial_of(cert: Path) -> int:
    """The serial number of the certificate in a file."""
    return x509.load_pem_x509_certificate(cert.read_bytes()).serial_number


class LaxTrust(Trust):
    """An authority without key usage, as many a hand-made one. RFC 5280 forbids that."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lax")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - YEAR)
            .not_valid_after(NOW + YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        pair = written(builder.sign(key, hashes.SHA256()), key)
        self.authority = Authority(pair)
        self.write("ca", pair)


def written(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    """Both as PEM."""
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    return Pair(cert.public_bytes(pem), secret)


def certified(
    trust: Trust, name: str, uris: list[str] | bytes, purposes: list[x509.ObjectIdentifier] | None
) -> Paths:
    """A certificate with other contents than ours have; OpenSSL accepts it.

    `uris` may be the encoded alternative names.
    """
    template = x509.load_pem_x509_certificate(trust.authority.client("template", NOW, days=1).cert)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        issuer_name=template.issuer,
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=template.not_valid_before_utc.replace(tzinfo=None),
        not_valid_after=template.not_valid_after_utc.replace(tzinfo=None),
    )
    replaced = (x509.SubjectKeyIdentifier, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
    for extension in template.extensions:
        if not isinstance(extension.value, replaced):
            builder = builder.add_extension(extension.value, extension.critical)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    )
    if isinstance(uris, bytes):
        encoded = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, uris)
        builder = builder.add_extension(encoded, critical=False)
    elif uris:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    ca_key = serialization.load_pem_private_key((trust.folder / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    return trust.write(f"odd-{name}", written(builder.sign(ca_key, hashes.SHA256()), key))
