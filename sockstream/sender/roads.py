"""Where roads come from: the address of central, and the certificate files as they are now."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

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
        self._of_lists_said = DailyWarnings()
        self._context()

    def new(self) -> Road:
        """A road that is not open yet. Raises ConfigError."""
        silence = 3 * self._settings.HEARTBEAT
        link = Link(*self._address, self._context(), silence, self._check)
        return Road(self._using, link, self._settings)

    def warnings(self) -> list[str]:
        """What is to be said today, once: that our certificate ends soon, that a list is old."""
        now = datetime.now(UTC)
        try:
            files = self._find()
            return [*self._of_ours(files.cert, now), *self._of_lists(files, now)]
        except ConfigError:
            # The next road says it, with the mend.
            return []

    def say_again(self) -> None:
        """What is wrong with a list is to be said once more."""
        self._of_lists_said.forget()

    def _of_ours(self, cert: str, now: datetime) -> Iterator[str]:
        own, within = tls.read_own(cert), self._settings.EXPIRY_WARNING
        line = warning(f"The certificate {cert}", own.name, own.not_after, within, now)
        # After its end, central's refusal says it.
        if line and own.not_after > now and self._daily.is_due(cert, now):
            yield line

    def _of_lists(self, files: Paths, now: datetime) -> Iterator[str]:
        """A site need not have a list."""
        if files.crl:
            for error in tls.shortcomings(files.crl, files.ca):
                if self._of_lists_said.is_due(error.words, now):
                    yield str(error)

    def _check(self, connection: ssl.SSLSocket) -> None:
        """Raises WireError if central is not to be trusted."""
        files = self._find()
        try:
            central = tls.peer_identity(connection)
            tls.check_revoked(central, files.crl or None, files.ca, strict=files.strict)
        except SockstreamError as error:
            raise WireError(error.code, error.words, error.mend, class_=Class.PERSON) from error

    def _context(self) -> tls.Context:
        files = self._find()
        return tls.client_context(files.ca, files.cert, files.key)
