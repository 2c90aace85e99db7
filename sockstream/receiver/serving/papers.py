"""Central's own certificate files, as they are now."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from datetime import datetime

from ... import tls
from ...exceptions import ConfigError
from ...management import Paths

logger = logging.getLogger("sockstream.receiver")


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

    def context(self) -> ssl.SSLContext:
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
        logger.info(words, why, files.cert, f"{self.not_after:%Y-%m-%d}")

    def _read(self, files: Paths) -> None:
        context = tls.server_context(files.ca, files.cert, files.key)
        tls.require_valid(files.cert)
        self.not_after: datetime = tls.own_not_after(files.cert)
        self._context = context


def _stamps(files: Paths) -> tls.Stamps:
    return tls.stamps(files.ca, files.cert, files.key)
