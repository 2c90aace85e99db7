"""The TLS contexts of both ends, and the files that they are made of.

TLS 1.3 only, our authority only, both ends with certificates, and no session is ever resumed (a
resumed one is accepted after its certificate has expired).
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from sockstream.certs import files, index
from sockstream.exceptions import ConfigError

from . import failures, words

Stamps = tuple[tuple[int, int, int] | None, ...]

# What OpenSSL has against a certificate that can be read: the setting whose file it is, and why.
_UNFIT = {
    "EE_KEY_TOO_SMALL": ("CERT", "has a key that is too small for this machine's OpenSSL"),
    "CA_KEY_TOO_SMALL": ("CERT", "holds an authority whose key is too small for OpenSSL"),
    "CA_MD_TOO_WEAK": ("CERT", "holds a certificate that is signed with too weak a digest"),
}
_STRONGER = "Have it made anew: an elliptic curve or RSA of 2048 bits and more, and SHA-256"


class Context(ssl.SSLContext):
    """What one end speaks TLS with. `is_by_tool`: `sockstream certs` made our authority."""

    is_by_tool = True


def client_context(ca: str | Path, cert: str | Path, key: str | Path) -> Context:
    """A context for a site that connects to central. Raises ConfigError."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca, cert, key, index.CLIENT)


def server_context(ca: str | Path, cert: str | Path, key: str | Path) -> Context:
    """A context for central, which sites connect to. Raises ConfigError."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca, cert, key, index.SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # OP_NO_TICKET alone does not stop TLS 1.3 tickets.
    context.num_tickets = 0
    return context


@dataclass(frozen=True)
class Own:
    """Our own certificate: when it expires, aware; `name` is "" if our tool did not make it."""

    not_after: datetime
    name: str


def read_own(cert: str | Path) -> Own:
    """What there is to know of our own certificate. Raises ConfigError."""
    found = files.read_certificate(cert)
    return Own(found.not_valid_after_utc, index.name_by_tool(found))


def require_valid(cert: str | Path) -> None:
    """Check that our own certificate has not expired. Raises ConfigError.

    For central, which no site would talk to; a site hears it from central and goes on once it has
    a new one.
    """
    own = read_own(cert)
    if datetime.now(UTC) > own.not_after:
        raise ConfigError(
            f'SOCKSTREAM["CERT"] or --cert: {cert} expired on {own.not_after:%Y-%m-%d}',
            f"{words.renewal(own.name)}; or set this machine's clock",
        )


def stamps(*paths: str | Path) -> Stamps:
    """What changes when one of these files is written anew; None for one that cannot be seen."""
    return tuple(_stamp(Path(path)) for path in paths)


def _context(
    protocol: int, ca: str | Path, cert: str | Path, key: str | Path, kind: str
) -> Context:
    authorities = files.read_authority(ca)
    context = Context(protocol)
    context.is_by_tool = any(map(index.is_by_tool, authorities))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # Python 3.13 sets it in create_default_context; certificates are judged alike by each version.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    if _lacks_an_issuer(authorities):
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(ca)
        _load_pair(context, cert, key, kind)
    except OSError as error:
        raise _unfit(error, ca, cert, key) from error
    return context


def _lacks_an_issuer(authorities: Sequence[x509.Certificate]) -> bool:
    """Whether one of them is to be trusted without the authority that issued it."""
    names = {cert.subject for cert in authorities}
    return any(cert.issuer not in names for cert in authorities)


def _unfit(error: OSError, ca: str | Path, cert: str | Path, key: str | Path) -> ConfigError:
    setting, what = _UNFIT.get(getattr(error, "reason", None) or "", ("", ""))
    if setting:
        return ConfigError(
            f'SOCKSTREAM["{setting}"] or --{setting.lower()}: {cert} {what}', _STRONGER
        )
    return ConfigError(
        f"{ca}, {cert} and {key} make no TLS context: {failures.why(error)}",
        "Compare them with docs/certificates.md, or make new ones: sockstream certs",
    )


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


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
