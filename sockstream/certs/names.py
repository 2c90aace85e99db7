"""What a certificate may be called: safe as a file name, a common name, and in a URI."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from sockstream.exceptions import ConfigError

MAX_NAME = 64  # RFC 5280, ub-common-name
RESERVED = ("ca", "crl", "issued")

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9])?", re.ASCII)


def checked_name(name: str) -> str:
    """`name`, if it is safe as a file name, a common name and in a URI. Raises ConfigError."""
    if len(name) > MAX_NAME:
        raise ConfigError(
            f"The name {name[:20]!r}... has {len(name)} characters",
            f"Give it at most {MAX_NAME}",
        )
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"The name {name!r} cannot be a certificate's",
            "Use letters and digits, and between them also dots, dashes and underscores",
        )
    if name.lower() in RESERVED:
        raise ConfigError(
            f"The name {name!r} is kept for the authority's own files", "Choose another"
        )
    return name


def checked_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    """The hosts of a server certificate, each once, as they stand in it. Raises ConfigError.

    The first one gives the certificate its name, so it has to be fit for one.
    """
    checked = tuple(dict.fromkeys(_host(host) for host in hosts))
    if not checked:
        raise ConfigError("No host is given", "Run: sockstream certs server HOST...")
    try:
        checked_name(checked[0])
    except ConfigError as error:
        raise ConfigError(
            f"The first host names the files, and {checked[0]!r} is not fit for that",
            f"Put a plain name first: sockstream certs server central {checked[0]}",
        ) from error
    return checked


def is_address(host: str) -> bool:
    """Whether `host` is an IP address, not a DNS name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _host(host: str) -> str:
    bare = host.strip("[]")
    if is_address(bare) and "%" not in bare:
        return str(ipaddress.ip_address(bare))
    try:
        ascii_host = host.lower().encode("idna").decode("ascii")
    except UnicodeError:
        ascii_host = ""
    labels = ascii_host.removeprefix("*.").split(".")
    if len(ascii_host) > 253 or not all(
        _LABEL.fullmatch(label) and len(label) < 64 for label in labels
    ):
        raise ConfigError(
            f"{host!r} is neither a DNS name nor an IP address",
            "Give names and addresses without a port, such as: central.example.org 192.0.2.7",
        )
    return ascii_host
