"""What was issued (`issued.json`), so that a revocation reaches each certificate of a name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509 import UniformResourceIdentifier as URI
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sockstream.exceptions import ConfigError

from . import authority, disk
from .names import MAX_NAME

FILE = "issued.json"
VERSION = 1
SERVER = "server"
CLIENT = "client"


@dataclass(frozen=True)
class Issued:
    """One certificate. `hosts` is empty for a client's; `revoked` is when, or None."""

    name: str
    kind: str
    hosts: tuple[str, ...]
    serial: int
    not_after: datetime
    revoked: datetime | None = None

    @classmethod
    def of(cls, name: str, cert: x509.Certificate) -> Issued | None:
        """What `cert` says; None if it is neither a server's nor a client's."""
        kind = kind_of(cert)
        if kind is None:
            return None
        hosts = _hosts(cert) if kind == SERVER else ()
        return cls(name, kind, hosts, cert.serial_number, cert.not_valid_after_utc)


def kind_of(cert: x509.Certificate) -> str | None:
    """SERVER or CLIENT by the extended key usage; None if that names both or neither."""
    try:
        purposes = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    serves = ExtendedKeyUsageOID.SERVER_AUTH in purposes
    if serves == (ExtendedKeyUsageOID.CLIENT_AUTH in purposes):
        return None
    return SERVER if serves else CLIENT


def common_name(cert: x509.Certificate) -> str:
    """The common name of the subject; "" if there is none, or more than one."""
    names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def label(name: x509.Name) -> str:
    """A name for people: quoted, in one line, and cut."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return shown(str(common[0].value) if common else name.rfc4514_string())


def shown(text: str) -> str:
    """Text of a certificate's for a line: quoted, so that it stays in it, and cut."""
    return repr(text) if len(text) <= MAX_NAME else f"{text[:MAX_NAME]!r}..."


def is_by_tool(cert: x509.Certificate) -> bool:
    """Whether it is of an authority that `sockstream certs` made, or that authority itself."""
    names = cert.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return len(names) == 1 and str(names[0].value).startswith(authority.NAME)


def name_by_tool(cert: x509.Certificate) -> str:
    """How `sockstream certs` calls it; "" if another authority made it."""
    return common_name(cert) if is_by_tool(cert) else ""


def load(folder: Path) -> list[Issued]:
    """What the index of `folder` holds, oldest first. Raises ConfigError if it is damaged."""
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
        if content["version"] != VERSION:
            raise ValueError(f"its version is {content['version']!r}")
        return [_parsed(entry) for entry in content["certificates"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be understood: {error}",
            "Restore it from a backup, or remove it: it is then made from the certificates here",
        ) from error


def save(folder: Path, issued: Iterable[Issued]) -> None:
    """Write the index of `folder`. Raises OSError."""
    content = {"version": VERSION, "certificates": [_plain(entry) for entry in issued]}
    disk.write_whole(folder / FILE, json.dumps(content, indent=1).encode() + b"\n")


def uris(cert: x509.Certificate) -> list[str]:
    """The URIs among the alternative names."""
    return [str(name.value) for name in _names(cert) if isinstance(name, URI)]


def _hosts(cert: x509.Certificate) -> tuple[str, ...]:
    return tuple(str(name.value) for name in _names(cert) if not isinstance(name, URI))


def _names(cert: x509.Certificate) -> list[x509.GeneralName]:
    try:
        return list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _plain(entry: Issued) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": entry.kind,
        "hosts": list(entry.hosts),
        "serial": f"{entry.serial:x}",
        "not_after": entry.not_after.isoformat(),
        "revoked": entry.revoked.isoformat() if entry.revoked else None,
    }


def _parsed(entry: dict[str, Any]) -> Issued:
    revoked = entry["revoked"]
    return Issued(
        name=entry["name"],
        kind=entry["kind"],
        hosts=tuple(entry["hosts"]),
        serial=int(entry["serial"], 16),
        not_after=datetime.fromisoformat(entry["not_after"]),
        revoked=datetime.fromisoformat(revoked) if revoked else None,
    )
