"""What the failure of a connection means: a stable code, and words for whoever has to mend it."""

from __future__ import annotations

import errno
import socket
import ssl

from sockstream.exceptions import SockstreamError

from .words import words_for

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


def explain(
    exc: BaseException, host: str, port: int, server: bool, *, tool: bool = True
) -> SockstreamError:
    """What the failure of a connection means, and what to do.

    `host` and `port` are the other end's, or, for central's own port, ours. `server` is whether we
    are central, `tool` whether `sockstream certs` made our authority. A TLS 1.3 client hears what
    the server thinks of its certificate only at recv().
    """
    if isinstance(exc, SockstreamError):
        return exc
    code, heard = _code(exc)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    words, mend = words_for(code, server=server, heard=heard, tool=tool)
    return SockstreamError(code, words.format(where=where, why=why(exc)), mend)


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


def why(exc: BaseException) -> str:
    """What the system or OpenSSL says, in a few words."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return exc.verify_message.rstrip(".")
    if reason := getattr(exc, "reason", None):
        # Of SSLV3_ALERT_BAD_CERTIFICATE, the version that the alert is from says nothing.
        return str(reason).rpartition("ALERT_")[2].lower().replace("_", " ")
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return str(exc) or type(exc).__name__
