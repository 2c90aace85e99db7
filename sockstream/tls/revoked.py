"""Who is revoked, by the lists (CRLs) of every authority above a certificate.

A serial number means something beside its issuer only, and a list counts only if that issuer
signed it. Whoever is on a list is refused. Where nobody can know, because there is no list of the
authority that issued a certificate or the file cannot be read, its owner is refused too. A list
that is out of date and an authority higher up without one are said, and refuse only if CRL_STRICT.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from sockstream.certs import files, index
from sockstream.certs.revocation import RevocationList, is_signed_by, read, unreadable
from sockstream.exceptions import SockstreamError

from . import words
from .peers import Peer, Step

_met: dict[Path, dict[x509.Name, int]] = {}
"""The files that this process has read, and the highest number of each authority's list."""


@dataclass(frozen=True, eq=False)
class Lists:
    """The lists of one file, and the authorities that are trusted.

    An intermediate authority need not be among these: a peer's chain brings it. `older`: whose
    list has a lower number than one that was read here before.
    """

    path: Path
    lists: Mapping[x509.Name, Sequence[RevocationList]]
    authorities: Sequence[x509.Certificate]
    older: Sequence[x509.Name] = ()

    def of(self, issuer: x509.Certificate) -> Sequence[RevocationList]:
        """The lists of `issuer`; one that has a new key may have signed them with that."""
        return _of(self, issuer)

    @property
    def is_by_tool(self) -> bool:
        """Whether `sockstream certs` made our authority."""
        return any(map(index.is_by_tool, self.authorities))


@lru_cache(maxsize=64)
def place(crl: str | Path | None, ca: str | Path) -> Path:
    """Where the list is: `crl`, or crl.pem beside `ca`."""
    return Path(crl) if crl else Path(ca).with_name("crl.pem")


def check_revoked(
    peer: Peer, crl: str | Path | None, ca: str | Path, *, strict: bool = False
) -> None:
    """Check that neither `peer` nor an authority above it is revoked.

    Without `crl`, the list is crl.pem beside `ca`, and there need not be one unless `strict`, or
    unless this process has read one there. Files are read again only when they change.
    Raises SockstreamError: "auth-revoked"; and where nobody knows, "crl-unreadable", "crl-missing"
    and "crl-expired".
    """
    path = place(crl, ca)
    if not (crl or strict) and _is_nowhere(path):
        return
    lists = current(path, ca)
    if not peer.chain:
        raise unreadable(path, f"nobody knows who issued the certificate of {peer.name!r}")
    for number, step in enumerate(peer.chain):
        found = lists.of(step.issuer)
        _check_step(peer, step, found)
        if not found and (strict or number == 0):
            raise _missing(lists, step.issuer)
        if strict and (late := _out_of_date(lists, found, step.issuer)) is not None:
            raise late


def shortcomings(
    crl: str | Path | None, ca: str | Path, issuers: Iterable[x509.Certificate] = ()
) -> Iterator[SockstreamError]:
    """What keeps us from knowing who is revoked, each with its mend.

    That there is no list, or that the file cannot be read; else, for each authority of ours and of
    `issuers`, that it has none or that it is out of date.
    """
    path = place(crl, ca)
    if not crl and _is_nowhere(path):
        yield _nothing(path, ca)
        return
    try:
        lists = current(path, ca)
    except SockstreamError as error:
        yield error
        return
    for issuer in dict.fromkeys([*lists.authorities, *issuers]):
        found = lists.of(issuer)
        if not found:
            yield _missing(lists, issuer)
        elif (late := _out_of_date(lists, found, issuer)) is not None:
            yield late
        if issuer.subject in lists.older:
            yield _older(lists, issuer)


def current(crl: Path, ca: str | Path) -> Lists:
    """The lists in `crl`, with the authorities in `ca`; read anew when either file changes.

    Raises SockstreamError ("crl-unreadable").
    """
    try:
        return _read(crl, _stamp(crl), ca, _stamp(ca))
    except OSError as error:
        raise unreadable(crl, f"{error.filename}: {error.strerror}") from error


@lru_cache(maxsize=8)
def _read(crl: Path, crl_stamp: object, ca: str | Path, ca_stamp: object) -> Lists:
    try:
        authorities = x509.load_pem_x509_certificates(Path(ca).read_bytes())
    except ValueError as error:
        raise unreadable(crl, f"{ca} is not a PEM certificate") from error
    lists: dict[x509.Name, list[RevocationList]] = {}
    for one in read(crl):
        signers = [cert for cert in authorities if cert.subject == one.issuer]
        if signers and not any(is_signed_by(one, by) for by in signers):
            why = f"{index.label(one.issuer)} has not signed the list that bears its name"
            raise unreadable(crl, why)
        lists.setdefault(one.issuer, []).append(one)
    numbers, before = _numbers(lists), _met.get(crl, {})
    older = [issuer for issuer, number in numbers.items() if number < before.get(issuer, 0)]
    _met[crl] = {**before, **{name: max(n, before.get(name, 0)) for name, n in numbers.items()}}
    return Lists(crl, lists, authorities, older)


def _numbers(lists: Mapping[x509.Name, Sequence[RevocationList]]) -> dict[x509.Name, int]:
    return {issuer: max(one.number for one in some) for issuer, some in lists.items()}


@lru_cache(maxsize=256)
def _of(lists: Lists, issuer: x509.Certificate) -> Sequence[RevocationList]:
    """Thousands of sites have the same few authorities, and are looked at together."""
    signers = [issuer, *(one for one in lists.authorities if one.subject == issuer.subject)]
    named = lists.lists.get(issuer.subject, ())
    return [one for one in named if any(is_signed_by(one, by) for by in signers)]


def _check_step(peer: Peer, step: Step, found: Iterable[RevocationList]) -> None:
    when = next((one.revoked[step.serial] for one in found if step.serial in one.revoked), None)
    if when is None:
        return
    name, serial, day = index.shown(peer.name), f"{step.serial:x}", f"{when:%Y-%m-%d}"
    if step is peer.chain[0]:
        raise SockstreamError(
            "auth-revoked",
            f"The certificate of {name} (serial {serial}) was revoked on {day}",
            words.mistake(peer.name if peer.is_by_tool else ""),
        )
    raise SockstreamError(
        "auth-revoked",
        f"The authority {step.subject} (serial {serial}), which is above the certificate of {name},"
        f" was revoked on {day}",
        "Have an authority that is not revoked issue another certificate",
    )


def _missing(lists: Lists, issuer: x509.Certificate) -> SockstreamError:
    return SockstreamError(
        "crl-missing",
        f"{lists.path} holds no list of revoked certificates that {index.label(issuer.subject)}"
        " has signed: nobody knows whom that authority has revoked",
        words.revocations(tool=lists.is_by_tool),
    )


def _out_of_date(
    lists: Lists, found: Sequence[RevocationList], issuer: x509.Certificate
) -> SockstreamError | None:
    ends = max((one.next_update for one in found), default=None)
    if ends is None or datetime.now(UTC) <= ends:
        return None
    return SockstreamError(
        "crl-expired",
        f"The list of revoked certificates {lists.path} of {index.label(issuer.subject)} is out of"
        f" date since {ends:%Y-%m-%d}: nobody knows whom that authority has revoked since",
        words.revocations(tool=lists.is_by_tool),
    )


def _older(lists: Lists, issuer: x509.Certificate) -> SockstreamError:
    return SockstreamError(
        "crl-older",
        f"The list of revoked certificates {lists.path} of {index.label(issuer.subject)} is older"
        " than the one that was read before: whom that authority has revoked since gets in",
        words.revocations(tool=lists.is_by_tool),
    )


def _nothing(path: Path, ca: str | Path) -> SockstreamError:
    return SockstreamError(
        "crl-missing",
        f"There is no list of revoked certificates: {path} does not exist."
        " Certificates that were revoked are accepted",
        words.revocations(tool=files.is_by_tool(ca)),
    )


def _is_nowhere(path: Path) -> bool:
    return path not in _met and not path.exists()


def _stamp(path: str | Path) -> tuple[int, int, int]:
    found = os.stat(path)  # noqa: PTH116 - for each site that is connected
    return found.st_mtime_ns, found.st_ino, found.st_size
