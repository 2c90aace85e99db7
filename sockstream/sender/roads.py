"""Where roads come from: the address of central, and the certificate files as they are now."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sockstream import tls
from sockstream.conf import Settings
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.tls.expiry import DailyWarnings, warning
from sockstream.tls.papers import Paths
from sockstream.wire.errors import Class, WireError

from .link import Link
from .road import Road


class Roads:
    """Makes roads to central at `host` and `port` for the stream of database `using`.

    The files that `find` names are read for each road, so that a renewed certificate is used from
    the next connection on.
    """

    def __init__(
        self, using: str, host: str, port: int, find: Callable[[], Paths], settings: Settings
    ) -> None:
        """Raises ConfigError if the files cannot be used."""
        self._using = using
        self._address = host, port
        self._find = find
        self._settings = settings
        self._daily = DailyWarnings()
        self._context()

    def new(self) -> Road:
        """A road that is not open yet. Raises ConfigError."""
        silence = 3 * self._settings.HEARTBEAT
        link = Link(*self._address, self._context(), silence, self._check)
        return Road(self._using, link, self._settings)

    def warning(self) -> str:
        """What to say about our certificate's end: once a day, if that is soon; else ""."""
        now = datetime.now(UTC)
        try:
            cert = self._find().cert
            ends = tls.own_not_after(cert)
        except ConfigError:
            # The next road says it, with the mend.
            return ""
        if ends <= now:
            return ""  # so does central's refusal
        words = warning(
            f"The certificate {cert}", Path(cert).stem, ends, self._settings.EXPIRY_WARNING, now
        )
        return words if words and self._daily.is_due(cert, now) else ""

    def _check(self, central: tls.Peer) -> None:
        files = self._find()
        try:
            tls.check_revoked(central, files.crl or None, files.ca)
        except SockstreamError as error:
            raise WireError(error.code, error.words, error.mend, class_=Class.PERSON) from error

    def _context(self) -> ssl.SSLContext:
        files = self._find()
        return tls.client_context(files.ca, files.cert, files.key)
