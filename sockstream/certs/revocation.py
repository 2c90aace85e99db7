"""Reading lists of revoked certificates (CRLs): whatever is wrong with one is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from sockstream.exceptions import SockstreamError

_PEM = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_DER = b"\x30"
_NEVER = datetime.max.replace(tzinfo=UTC)
_MEND = "Put the one in its place that lies where the authority is"


@dataclass(frozen=True, eq=False)
class RevocationList:
    """The list of one authority: the serials that it revoked, and when each was.

    Serials are its own: another authority gives the same ones. From `next_update` on the list is
    out of date. `number` grows from list to list.
    """

    issuer: x509.Name
    revoked: Mapping[int, datetime]
    next_update: datetime
    number: int
    signed: x509.CertificateRevocationList


def read(path: Path) -> list[RevocationList]:
    """The lists in a file, one in DER or any number in PEM; by whom they are signed is not seen to.

    Raises SockstreamError ("crl-unreadable"), OSError.
    """
    content = path.read_bytes()
    try:
        if content.startswith(_DER):
            return [_parsed(x509.load_der_x509_crl(content))]
        found = [_parsed(x509.load_pem_x509_crl(pem)) for pem in _PEM.findall(content)]
    except ValueError as error:
        raise unreadable(path, str(error)) from error
    if not found:
        raise unreadable(path, "it holds no PEM list")
    return found


def read_own(path: Path, authority: x509.Certificate) -> RevocationList:
    """The only list in the file of `authority`, which has to have signed it.

    Raises SockstreamError ("crl-unreadable"), OSError.
    """
    found = read(path)
    if len(found) > 1:
        raise unreadable(path, f"it holds {len(found)} lists, and here is one authority")
    if not is_signed_by(found[0], authority):
        raise unreadable(path, "no authority of ours has signed it")
    return found[0]


@lru_cache(maxsize=1_024)
def is_signed_by(listed: RevocationList, authority: x509.Certificate) -> bool:
    """Whether `authority` signed the list."""
    key = authority.public_key()
    if listed.issuer != authority.subject:
        return False
    try:
        return listed.signed.is_signature_valid(key)  # type: ignore[arg-type]
    except TypeError:  # a key that signs nothing
        return False


@lru_cache(maxsize=1_024)
def is_issued_by(cert: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether `authority` signed `cert`."""
    try:
        cert.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def unreadable(path: Path, why: str) -> SockstreamError:
    """The error for a file of which nobody knows who is revoked."""
    return SockstreamError(
        "crl-unreadable", f"The list of revoked certificates {path} cannot be read: {why}", _MEND
    )


def _parsed(crl: x509.CertificateRevocationList) -> RevocationList:
    _check_scope(crl.extensions)
    revoked = {entry.serial_number: entry.revocation_date_utc for entry in crl}
    ends = crl.next_update_utc or _NEVER
    return RevocationList(crl.issuer, revoked, ends, _number(crl.extensions), crl)


def _check_scope(extensions: Iterable[x509.Extension[x509.ExtensionType]]) -> None:
    """A list that names only some of those that are revoked cannot say that somebody is not."""
    for extension in extensions:
        partial = isinstance(extension.value, x509.DeltaCRLIndicator) or (
            isinstance(extension.value, x509.IssuingDistributionPoint)
            and _is_partial(extension.value)
        )
        if partial:
            raise ValueError("it is no whole list of one authority (a delta, or of some kinds)")


def _is_partial(point: x509.IssuingDistributionPoint) -> bool:
    return bool(
        point.only_contains_user_certs
        or point.only_contains_ca_certs
        or point.only_contains_attribute_certs
        or point.only_some_reasons
        or point.indirect_crl
    )


def _number(extensions: x509.Extensions) -> int:
    try:
        return extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0
