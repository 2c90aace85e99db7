"""Reading lists of revoked certificates. Whatever is wrong with one is an error: fail closed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from sockstream.exceptions import SockstreamError

_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_MEND = "Put a new one there: `sockstream certs` makes it where the authority is"


@dataclass(frozen=True)
class RevocationList:
    """The serials that are revoked, and when each was. Good until `next_update`."""

    revoked: Mapping[int, datetime]
    next_update: datetime
    number: int


def current(crl: Path, ca: Path, now: datetime) -> RevocationList:
    """The list in `crl`, signed by an authority in `ca`; read anew when either file changes.

    Raises SockstreamError: "crl-unreadable" (also if nobody in `ca` has signed it), "crl-expired".
    """
    try:
        found = _read(crl, _stamp(crl), ca, _stamp(ca))
    except OSError as error:
        raise _unreadable(crl, f"{error.filename}: {error.strerror}") from error
    if now > found.next_update:
        raise SockstreamError(
            "crl-expired",
            f"The list of revoked certificates {crl} expired on {found.next_update:%Y-%m-%d}",
            _MEND,
        )
    return found


@lru_cache(maxsize=8)
def _read(crl: Path, crl_stamp: object, ca: Path, ca_stamp: object) -> RevocationList:
    try:
        authorities = x509.load_pem_x509_certificates(ca.read_bytes())
    except ValueError as error:
        raise _unreadable(crl, f"{ca} is not a PEM certificate") from error
    return parsed(crl, authorities)


def parsed(crl: Path, authorities: list[x509.Certificate]) -> RevocationList:
    """The lists in `crl` as one. Each has to be signed by one of `authorities`.

    Raises SockstreamError ("crl-unreadable"), OSError.
    """
    try:
        lists = [x509.load_pem_x509_crl(pem) for pem in _CRL.findall(crl.read_bytes())]
        if not lists:
            raise ValueError("it holds no PEM list")
        for each in lists:
            _check_signature(each, authorities)
        revoked = {
            entry.serial_number: entry.revocation_date_utc for each in lists for entry in each
        }
        ends = [each.next_update_utc or datetime.max.replace(tzinfo=UTC) for each in lists]
        return RevocationList(revoked, min(ends), max(_number(each) for each in lists))
    except ValueError as error:
        raise _unreadable(crl, str(error)) from error


def is_issued_by(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `cert`."""
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_signature(
    crl: x509.CertificateRevocationList, authorities: list[x509.Certificate]
) -> None:
    for cert in authorities:
        key = cert.public_key()
        if crl.issuer == cert.subject and crl.is_signature_valid(key):  # type: ignore[arg-type]
            return
    raise ValueError("no authority of ours has signed it")


def _number(crl: x509.CertificateRevocationList) -> int:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _unreadable(crl: Path, why: str) -> SockstreamError:
    return SockstreamError(
        "crl-unreadable", f"The list of revoked certificates {crl} cannot be read: {why}", _MEND
    )
