"""Mutual TLS: contexts, who the peer is, and what a failure means. Nothing else touches `ssl`.

TLS 1.3 only, our authority only, both ends with certificates, and no session is ever resumed (a
resumed one is accepted after its certificate has expired).
"""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from sockstream.certs import files, index, revocation
from sockstream.certs.authority import SITE_URI
from sockstream.exceptions import ConfigError, SockstreamError

from .words import words_for

Stamps = tuple[tuple[int, int, int] | None, ...]

_VERIFY_CODES = {
    2: "tls-unknown-ca",  # unable to get issuer certificate
    7: "tls-unknown-ca",  # certificate signature failure
    9: "tls-not-yet-valid",
    10: "tls-expired",
    18: "tls-unknown-ca",  # self-signed certificate
    19: "tls-unknown-ca",  # self-signed certificate in chain
    20: "tls-unknown-ca",  # unable to get local issuer certificate
    21: "tls-unknown-ca",  # unable to verify the first certificate
    23: "tls-revoked",
    26: "tls-wrong-purpose",
    30: "tls-unknown-ca",  # authority and subject key identifier mismatch
    62: "tls-host-name",
    64: "tls-host-name",  # IP address mismatch
}
_ALERTS = {
    "BAD_CERTIFICATE": "tls-certificate",
    "CERTIFICATE_EXPIRED": "tls-expired",
    "CERTIFICATE_REQUIRED": "tls-no-certificate",
    "CERTIFICATE_REVOKED": "tls-revoked",
    "CERTIFICATE_UNKNOWN": "tls-certificate",
    "PROTOCOL_VERSION": "tls-version",
    "UNKNOWN_CA": "tls-unknown-ca",
    "UNSUPPORTED_CERTIFICATE": "tls-wrong-purpose",
}
_REASONS = {
    # Raised by Python, not by OpenSSL.
    "Closed before TLS handshake with data in recv buffer.": "connection-lost",
    "HTTP_REQUEST": "tls-not-tls",
    "HTTPS_PROXY_REQUEST": "tls-not-tls",
    "NO_PROTOCOLS_AVAILABLE": "tls-version",
    "PACKET_LENGTH_TOO_LONG": "tls-not-tls",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "tls-no-certificate",
    "RECORD_LAYER_FAILURE": "tls-not-tls",
    "UNEXPECTED_EOF_WHILE_READING": "connection-lost",
    "UNSUPPORTED_PROTOCOL": "tls-version",
    "WRONG_VERSION_NUMBER": "tls-not-tls",
}
_ERRNOS = {
    errno.EACCES: "forbidden",
    errno.EADDRINUSE: "port-in-use",
    errno.EADDRNOTAVAIL: "address-unavailable",
    errno.ECONNABORTED: "connection-lost",
    errno.ECONNREFUSED: "connection-refused",
    errno.ECONNRESET: "connection-lost",
    errno.EHOSTDOWN: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.EMFILE: "too-many-files",
    errno.ENETDOWN: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENFILE: "too-many-files",
    errno.ENOTCONN: "connection-lost",
    errno.EPERM: "forbidden",
    errno.EPIPE: "connection-lost",
    errno.ETIMEDOUT: "timeout",
}


@dataclass(frozen=True)
class Peer:
    """Who is at the other end. `fingerprint`: SHA-256 of the certificate; `not_after` is aware."""

    name: str
    serial: int
    not_after: datetime
    fingerprint: bytes


def client_context(ca: str | Path, cert: str | Path, key: str | Path) -> ssl.SSLContext:
    """A context for a site that connects to central. Raises ConfigError."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca, cert, key, index.CLIENT)


def server_context(ca: str | Path, cert: str | Path, key: str | Path) -> ssl.SSLContext:
    """A context for central, which sites connect to. Raises ConfigError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca, cert, key, index.SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # OP_NO_TICKET alone does not stop TLS 1.3 tickets.
    context.num_tickets = 0
    return context


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
            f"The peer's certificate cannot be read: {error}",
            "Make one where the authority is: sockstream certs client NAME",
        ) from error
    ends = cert.not_valid_after_utc
    # OpenSSL has looked, but at time(), which on Linux is some milliseconds behind the clock that
    # ends a session: a peer that came back at once would get in with what has just ended it.
    if datetime.now(UTC) >= ends:
        raise SockstreamError(
            "tls-expired",
            f"The certificate of {name!r} has expired (on {ends:%Y-%m-%d} at {ends:%H:%M} UTC)",
            f"Run where the authority is: sockstream certs renew {name}",
        )
    return Peer(name, cert.serial_number, ends, cert.fingerprint(_SHA256))


def check_revoked(peer: Peer, crl: str | Path | None, ca: str | Path) -> None:
    """Check that `peer` is not on the list of revoked certificates.

    Without `crl`, the list is crl.pem beside `ca`, and there need not be one. Files are read again
    only when they change.
    Raises SockstreamError: "auth-revoked", or "crl-unreadable" and "crl-expired", for then nobody
    knows.
    """
    path = Path(crl) if crl else Path(ca).with_name("crl.pem")
    if not crl and not path.exists():
        return
    listed = revocation.current(path, Path(ca), datetime.now(UTC))
    when = listed.revoked.get(peer.serial)
    if when is not None:
        raise SockstreamError(
            "auth-revoked",
            f"The certificate of {peer.name!r} (serial {peer.serial:x})"
            f" was revoked on {when:%Y-%m-%d}",
            f"If it was by mistake, run where the authority is: sockstream certs renew {peer.name}",
        )


def own_not_after(cert: str | Path) -> datetime:
    """When our own certificate expires, aware. Raises ConfigError."""
    return files.read_certificate(cert).not_valid_after_utc


def require_valid(cert: str | Path) -> None:
    """Check that our own certificate has not expired. Raises ConfigError.

    For central, which no site would talk to; a site hears it from central and goes on once it has
    a new one.
    """
    ends = own_not_after(cert)
    if datetime.now(UTC) > ends:
        raise ConfigError(
            f'SOCKSTREAM["CERT"] or --cert: {cert} expired on {ends:%Y-%m-%d}',
            f"Run: sockstream certs renew {Path(cert).stem}; or set this machine's clock",
        )


def explain(exc: BaseException, host: str, port: int, server: bool) -> SockstreamError:
    """What the failure of a connection means, and what to do.

    `host` and `port` are the other end's, or, for central's own port, ours. `server` is whether we
    are central. A TLS 1.3 client hears what the server thinks of its certificate only at recv().
    """
    if isinstance(exc, SockstreamError):
        return exc
    code, heard = _code(exc)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    words, mend = words_for(code, server=server, heard=heard)
    return SockstreamError(code, words.format(where=where, why=_why(exc)), mend)


def _context(
    protocol: int, ca: str | Path, cert: str | Path, key: str | Path, kind: str
) -> ssl.SSLContext:
    files.read_authority(ca)
    context = ssl.SSLContext(protocol)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # Python 3.13 sets it in create_default_context; certificates are judged alike by each version.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(ca)
        _load_pair(context, cert, key, kind)
    except OSError as error:
        raise ConfigError(
            f"{ca}, {cert} and {key} make no TLS context: {_why(error)}",
            "Run: sockstream certs",
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, cert: str | Path, key: str | Path, kind: str) -> None:
    while True:
        before = stamps(cert, key)
        try:
            found = files.read_pair(cert, key, kind)
            # A password, lest OpenSSL asks the terminal for one.
            context.load_cert_chain(found, key, password="")
        except (ConfigError, OSError):
            # A renewal may have moved a file since it was looked at.
            if stamps(cert, key) == before:
                raise
        else:
            return


def stamps(*paths: str | Path) -> Stamps:
    """What changes when one of these files is written anew; None for one that cannot be seen."""
    return tuple(_stamp(Path(path)) for path in paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


_SHA256 = hashes.SHA256()


def _check_site(cert: x509.Certificate, name: str) -> None:
    if index.kind_of(cert) != index.CLIENT:
        raise SockstreamError(
            "tls-wrong-purpose",
            f"The certificate of {name!r} is not for clients alone",
            "Make one where the authority is: sockstream certs client NAME",
        )
    uris = [uri for uri in index.uris(cert) if uri.startswith(SITE_URI)]
    if not name or uris != [SITE_URI + name]:
        raise SockstreamError(
            "auth-identity",
            f"The certificate's common name {name!r} and its URI {', '.join(uris) or 'none'}"
            " do not name one site",
            "Make one where the authority is: sockstream certs client NAME",
        )


def _code(exc: BaseException) -> tuple[str, bool]:
    """The code of a failure, and whether it was heard from the peer (a TLS alert)."""
    if isinstance(exc, ssl.SSLError):
        return _tls_code(exc)
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "host-unknown", False
    if isinstance(exc, TimeoutError):
        return "timeout", False
    number = exc.errno if isinstance(exc, OSError) else None
    if number is None and isinstance(exc, ConnectionError | EOFError):
        return "connection-lost", False
    return _ERRNOS.get(number or 0, "network"), False


def _tls_code(exc: ssl.SSLError) -> tuple[str, bool]:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _VERIFY_CODES.get(exc.verify_code, "tls-certificate"), False
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "connection-lost", False
    # An error that OpenSSL did not raise has no reason.
    reason = getattr(exc, "reason", None) or ""
    _, alert, what = reason.partition("ALERT_")
    if alert:
        return _ALERTS.get(what, "tls-failed"), True
    return _REASONS.get(reason, "tls-failed"), False


def _why(exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message.rstrip(".")
    if reason := getattr(exc, "reason", None):
        # Of SSLV3_ALERT_BAD_CERTIFICATE, the version that the alert is from says nothing.
        return str(reason).rpartition("ALERT_")[2].lower().replace("_", " ")
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
