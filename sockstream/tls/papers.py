"""Our own certificate files: where they are, and what is in them now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sockstream.conf import settings
from sockstream.exceptions import ConfigError

from . import contexts

logger = logging.getLogger("sockstream.receiver")


@dataclass(frozen=True)
class Paths:
    """Where the certificates are. `crl` is "" if there is no list of revoked certificates.

    `strict`: refuse also where a list is out of date, or an authority higher up has none.
    """

    ca: str
    cert: str
    key: str
    crl: str
    strict: bool = False


def paths(options: Mapping[str, Any]) -> Paths:
    """The certificate files, from --ca, --cert, --key, else from SOCKSTREAM.

    The CRL is SOCKSTREAM["CRL"], else crl.pem beside the CA if that exists.
    Raises ConfigError if one is given in neither place; that the files are right, tls.py checks.
    """
    given = settings()
    chosen = {name: _path(name, options, given) for name in ("ca", "cert", "key")}
    beside = Path(chosen["ca"]).parent / "crl.pem"
    crl = given.CRL or (str(beside) if beside.exists() else "")
    return Paths(**chosen, crl=crl, strict=given.CRL_STRICT)


def _path(name: str, options: Mapping[str, Any], given: Any) -> str:
    path = str(options.get(name) or getattr(given, name.upper()))
    if not path:
        raise ConfigError(
            f'Neither --{name} nor SOCKSTREAM["{name.upper()}"] is given',
            "Name the file; `sockstream certs` makes one if you have none",
        )
    return path


class Papers:
    """Reads the files that `find` names, and again whenever they change.

    What cannot be used is said once, and what was read before goes on being used: so files may be
    exchanged one after the other while central runs.
    """

    def __init__(self, find: Callable[[], Paths]) -> None:
        """Raises ConfigError if the files cannot be used, or the certificate has expired."""
        self._find = find
        self.files = find()
        self._seen = _stamps(self.files)
        self._read(self.files)

    def context(self) -> contexts.Context:
        """For the next handshake."""
        if _stamps(self.files) != self._seen:
            self._read_again("The files have changed")
        return self._context

    def read_again(self) -> None:
        """For SIGHUP: look where the files are, and read them even if nothing seems to be new."""
        self._read_again("SIGHUP")

    def _read_again(self, why: str) -> None:
        # Before they are read: what changes meanwhile is read once more.
        self._seen = _stamps(self.files)
        try:
            files = self._find()
            self._seen = _stamps(files)
            self._read(files)
        except ConfigError as error:
            words = "%s: they cannot be used, and those that were read before still are: %s"
            logger.warning(words, why, error)
            return
        self.files = files
        words = "%s: from the next handshake on, central shows %s, good until %s"
        logger.info(words, why, files.cert, f"{self.own.not_after:%Y-%m-%d}")

    def _read(self, files: Paths) -> None:
        context = contexts.server_context(files.ca, files.cert, files.key)
        contexts.require_valid(files.cert)
        self.own = contexts.read_own(files.cert)
        self._context = context


def _stamps(files: Paths) -> contexts.Stamps:
    return contexts.stamps(files.ca, files.cert, files.key)
