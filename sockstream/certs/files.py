"""The files that a person names: what is wrong with one is said with its setting and the mend."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

from sockstream.exceptions import ConfigError

from . import disk, index

MAKE = "Run: sockstream certs"


_GLUED = re.compile(rb"-----END [A-Z0-9 ]+-----[ \t]*-----BEGIN ")


def read_authority(path: str | Path) -> list[x509.Certificate]:
    """The authorities in the file of SOCKSTREAM["CA"]. Raises ConfigError."""
    found = _certificates("CA", path)
    for cert in found:
        if not _is_authority(cert):
            raise _wrong("CA", path, "is not an authority's certificate", "Name the file ca.crt")
    return found


def is_by_tool(ca: str | Path) -> bool:
    """Whether `sockstream certs` made an authority in this file, or nobody can know."""
    try:
        return any(map(index.is_by_tool, read_authority(ca)))
    except ConfigError:
        return True


def read_pair(cert_path: str | Path, key_path: str | Path, kind: str) -> Path:
    """Check that SOCKSTREAM["CERT"] and ["KEY"] belong together, and are for `kind`.

    `kind`: index.SERVER or index.CLIENT. Returns where the certificate is: beside its place if a
    renewal has put the new key in its place, and not the certificate yet. Raises ConfigError.
    """
    cert, *others = _certificates("CERT", cert_path)
    _check_key(key_path)
    found = disk.half_of(Path(cert_path), Path(key_path))
    if found is None:
        raise _not_a_pair(cert_path, key_path, cert, others)
    other = index.CLIENT if kind == index.SERVER else index.SERVER
    if index.kind_of(cert) == other:
        what = "HOST..." if kind == index.SERVER else "NAME"
        mend = f"Run: sockstream certs {kind} {what}"
        if not index.is_by_tool(cert):
            mend = f"Ask your authority for one with the extended key usage {kind}Auth alone"
        words = f"is a {other}'s certificate, and this end needs a {kind}'s"
        raise _wrong("CERT", cert_path, words, mend)
    return found


def _not_a_pair(
    cert_path: str | Path,
    key_path: str | Path,
    cert: x509.Certificate,
    others: list[x509.Certificate],
) -> ConfigError:
    key = load_pem_private_key(Path(key_path).read_bytes(), password=None).public_key()
    if any(each.public_key() == key for each in others):
        return _wrong(
            "CERT",
            cert_path,
            "begins with another certificate than that of the key",
            "Put this end's own certificate first, and after it that of the authority that"
            " issued it",
        )
    name = index.name_by_tool(cert)
    renewal = f", or run: sockstream certs renew {name}" if name else ""
    words = f"is not the key of the certificate {cert_path}"
    return _wrong("KEY", key_path, words, f"Name the key that was made with it{renewal}")


def read_certificate(path: str | Path) -> x509.Certificate:
    """The first certificate in the file of SOCKSTREAM["CERT"]. Raises ConfigError."""
    return _certificates("CERT", path)[0]


def _certificates(setting: str, path: str | Path) -> list[x509.Certificate]:
    content = _content(setting, path)
    if _GLUED.search(content):
        words = "has an END and a BEGIN in one line"
        raise _wrong(setting, path, words, "Put a line end between the two certificates")
    try:
        certs = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise _no_pem(setting, path, _is_der_certificate(content), "x509") from error
    try:
        # They are parsed when they are asked for.
        for cert in certs:
            _ = cert.extensions
    except ValueError as error:
        raise _wrong(setting, path, f"holds a malformed certificate: {error}", MAKE) from error
    return certs


def _check_key(path: str | Path) -> None:
    content = _content("KEY", path)
    try:
        load_pem_private_key(content, password=None)
    except TypeError as error:
        mend = f"Run: openssl pkey -in {path} -out FILE"
        raise _wrong("KEY", path, "is locked with a password", mend) from error
    except ValueError as error:
        raise _no_pem("KEY", path, _is_der_key(content), "pkey") from error


def _no_pem(setting: str, path: str | Path, is_der: bool, tool: str) -> ConfigError:
    if is_der:
        mend = f"Run: openssl {tool} -inform DER -in {path} -out FILE"
        return _wrong(setting, path, "is in DER form, not in PEM form", mend)
    what = "private key" if setting == "KEY" else "certificate"
    return _wrong(setting, path, f"holds no {what} in PEM form", MAKE)


def _is_der_certificate(content: bytes) -> bool:
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return False
    return True


def _is_der_key(content: bytes) -> bool:
    try:
        load_der_private_key(content, password=None)
    except TypeError:  # it has a password
        return True
    except ValueError:
        return False
    return True


def _content(setting: str, path: str | Path) -> bytes:
    if not str(path):
        raise ConfigError(f"{_named(setting)} names no file", MAKE)
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise _wrong(setting, path, f"does not exist{_seen_from(path)}", MAKE) from error
    except PermissionError as error:
        mend = "Let the user that runs this read it (chown, chmod 600)"
        raise _wrong(setting, path, "may not be read by this user", mend) from error
    except IsADirectoryError as error:
        raise _wrong(setting, path, "is a directory", "Name the file in it") from error
    except (OSError, ValueError) as error:
        raise _wrong(setting, path, f"cannot be read: {error}", "Name another file") from error
    if not content.strip():
        raise _wrong(setting, path, "is empty", MAKE)
    return content


def _is_authority(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _seen_from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" (seen from {Path.cwd()})"


def _named(setting: str) -> str:
    return f'SOCKSTREAM["{setting}"] or --{setting.lower()}'


def _wrong(setting: str, path: str | Path, what: str, mend: str) -> ConfigError:
    return ConfigError(f"{_named(setting)}: {path} {what}", mend)
