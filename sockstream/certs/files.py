"""The files that a person names: what is wrong with one is said with its setting and the mend."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sockstream.exceptions import ConfigError

from . import disk, index

MAKE = "Run: sockstream certs"


def read_authority(path: str | Path) -> None:
    """Check that the file of SOCKSTREAM["CA"] holds authorities. Raises ConfigError."""
    for cert in _certificates("CA", path):
        if not _is_authority(cert):
            raise _wrong("CA", path, "is not an authority's certificate", "Name the file ca.crt")


def read_pair(cert_path: str | Path, key_path: str | Path, kind: str) -> Path:
    """Check that SOCKSTREAM["CERT"] and ["KEY"] belong together, and are for `kind`.

    `kind`: index.SERVER or index.CLIENT. Returns where the certificate is: beside its place if a
    renewal has put the new key in its place, and not the certificate yet. Raises ConfigError.
    """
    cert = read_certificate(cert_path)
    _check_key(key_path)
    found = disk.half_of(Path(cert_path), Path(key_path))
    if found is None:
        raise _wrong(
            "KEY",
            key_path,
            f"is not the key of the certificate {cert_path}",
            "Name the key that was made with it, or run: "
            f"sockstream certs renew {Path(cert_path).stem}",
        )
    other = index.CLIENT if kind == index.SERVER else index.SERVER
    if index.kind_of(cert) == other:
        what = "HOST..." if kind == index.SERVER else "NAME"
        raise _wrong(
            "CERT",
            cert_path,
            f"is a {other}'s certificate, and this end needs a {kind}'s",
            f"Run: sockstream certs {kind} {what}",
        )
    return found


def read_certificate(path: str | Path) -> x509.Certificate:
    """The first certificate in the file of SOCKSTREAM["CERT"]. Raises ConfigError."""
    return _certificates("CERT", path)[0]


def _certificates(setting: str, path: str | Path) -> list[x509.Certificate]:
    content = _content(setting, path)
    try:
        certs = x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise _wrong(setting, path, "holds no certificate in PEM form", MAKE) from error
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
        raise _wrong("KEY", path, "holds no private key in PEM form", MAKE) from error


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
