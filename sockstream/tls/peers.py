"""Who the peer is, by the certificate that it has shown, and who issued that."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from sockstream.certs import index, revocation
from sockstream.certs.authority import SITE_URI
from sockstream.certs.names import checked_name
from sockstream.exceptions import ConfigError, SockstreamError

from . import words

_SHA256 = hashes.SHA256()
_DER = 2
"""`_ssl.ENCODING_DER`."""


@dataclass(frozen=True)
class Step:
    """One step of a chain: the certificate `serial` of `subject` was issued by `issuer`."""

    subject: str
    serial: int
    issuer: x509.Certificate


@dataclass(frozen=True)
class Peer:
    """Who is at the other end. `fingerprint`: SHA-256 of the certificate; `not_after` is aware.

    `chain`: from its certificate up to the last authority that is known.
    """

    name: str
    serial: int
    not_after: datetime
    fingerprint: bytes
    chain: tuple[Step, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_by_tool(self) -> bool:
        """Whether `sockstream certs` made its certificate."""
        return bool(self.chain) and index.is_by_tool(self.chain[0].issuer)


def peer_identity(connection: ssl.SSLObject | ssl.SSLSocket) -> Peer:
    """Who the peer of `connection` is, once its handshake is done.

    At central, a site: its certificate has to be a client's, and to name the site twice, as common
    name and in a URI. At a site, central.
    Raises SockstreamError ("tls-no-certificate", "auth-identity", "tls-expired").
    """
    encoded = connection.getpeercert(binary_form=True)
    if not encoded:
        raise SockstreamError(
            "tls-no-certificate", "The peer has shown no certificate", "Have it use one of ours"
        )
    try:
        cert = x509.load_der_x509_certificate(encoded)
        name = index.common_name(cert)
        if connection.server_side:
            _check_site(cert, name)
    except ValueError as error:
        raise SockstreamError(
            "auth-identity",
            f"The peer's certificate cannot be read: {index.shown(str(error))}",
            words.client(tool=False),
        ) from error
    ends = cert.not_valid_after_utc
    # OpenSSL has looked, but at time(), which on Linux is some milliseconds behind the clock that
    # ends a session: a peer that came back at once would get in with what has just ended it.
    if datetime.now(UTC) >= ends:
        raise SockstreamError(
            "tls-expired",
            f"The certificate of {index.shown(name)} has expired"
            f" (on {ends:%Y-%m-%d} at {ends:%H:%M} UTC)",
            words.renewal(index.name_by_tool(cert)),
        )
    chain = tuple(_steps(cert, _issuers(connection, cert)))
    return Peer(name, cert.serial_number, ends, cert.fingerprint(_SHA256), chain)


def _check_site(cert: x509.Certificate, name: str) -> None:
    mend = words.client(tool=index.is_by_tool(cert))
    if index.kind_of(cert) != index.CLIENT:
        raise SockstreamError(
            "tls-wrong-purpose",
            f"The certificate of {index.shown(name)} is not for clients alone",
            mend,
        )
    uris = [uri for uri in index.uris(cert) if uri.startswith(SITE_URI)]
    if not name or uris != [SITE_URI + name]:
        raise SockstreamError(
            "auth-identity",
            f"The certificate's common name {index.shown(name)} and its URI"
            f" {', '.join(map(index.shown, uris[:3])) or 'none'} do not name one site",
            mend,
        )
    try:
        checked_name(name)
    except ConfigError as error:
        raise SockstreamError(
            "auth-identity", f"The certificate does not name a site: {error.words}", error.mend
        ) from error


def _issuers(
    connection: ssl.SSLObject | ssl.SSLSocket, cert: x509.Certificate
) -> Sequence[x509.Certificate]:
    """Who issued `cert`, who issued that one, and so on; `cert` itself if it is its own issuer.

    OpenSSL ends the chain at the first certificate that it trusts. If one of ours issued that, it
    goes on.
    """
    found = [_loaded(encoded) for encoded in _verified(connection)[1:]]
    ours = [_loaded(encoded) for encoded in connection.context.get_ca_certs(binary_form=True)]
    while above := _above(found[-1] if found else cert, ours):
        if above in found:
            break
        found.append(above)
    return found or [cert]


def _above(cert: x509.Certificate, ours: Iterable[x509.Certificate]) -> x509.Certificate | None:
    if cert.issuer == cert.subject:
        return None
    return next((one for one in ours if revocation.is_issued_by(cert, one)), None)


def _steps(cert: x509.Certificate, issuers: Iterable[x509.Certificate]) -> Iterable[Step]:
    for issuer in issuers:
        yield Step(index.label(cert.subject), cert.serial_number, issuer)
        cert = issuer


def _verified(connection: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The chain that OpenSSL has verified, in DER, the peer's certificate first."""
    public = getattr(connection, "get_verified_chain", None)
    if public is not None:
        return list(public())
    # Python 3.11 and 3.12, which get security fixes only, have it under this name.
    inner = getattr(connection, "_sslobj").get_verified_chain()  # noqa: B009
    return [cert.public_bytes(_DER) for cert in inner or ()]


@lru_cache(maxsize=256)
def _loaded(encoded: bytes) -> x509.Certificate:
    """One object for an authority, however many sites it has."""
    return x509.load_der_x509_certificate(encoded)
