"""Central's warnings of certificates that expire soon: its own, and those that sites show."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ... import tls
from ...expiry import DailyWarnings, warning

logger = logging.getLogger("sockstream.receiver")


class ExpiryWarnings:
    """Logs each warning once a day, however often a site connects."""

    def __init__(self, within: timedelta) -> None:
        self._within = within
        self._daily = DailyWarnings()

    def of_ours(self, cert: str, ends: datetime) -> None:
        """Warn of central's own certificate, the file `cert`, if it is time."""
        self._warn(f"The certificate {cert}", Path(cert).stem, ends)

    def of_site(self, peer: tls.Peer) -> None:
        """Warn of a site's certificate, if it is time."""
        self._warn(f"The certificate of the site {peer.name}", peer.name, peer.not_after)

    def _warn(self, whose: str, name: str, ends: datetime) -> None:
        now = datetime.now(UTC)
        words = warning(whose, name, ends, self._within, now)
        if words and self._daily.is_due(whose, now):
            logger.warning("%s", words)
