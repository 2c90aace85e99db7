"""Words about certificates that are going to expire, before it is too late."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from .contexts import Peer

logger = logging.getLogger("sockstream.receiver")

_UNITS = ((timedelta(days=1), "days"), (timedelta(hours=1), "hours"))


def warning(whose: str, name: str, ends: datetime, within: timedelta, now: datetime) -> str:
    """What to say about a certificate that expires at `ends`; "" if that is not `within` now.

    `whose` begins the sentence, `name` is how the authority calls it. Times are aware.
    """
    if ends - now > within:
        return ""
    verb = f"expires in {_span(ends - now)}" if ends > now else "has expired"
    return (
        f"{whose} {verb} (on {ends:%Y-%m-%d} at {ends:%H:%M} UTC)."
        f" Run where the authority is: sockstream certs renew {name}"
    )


def _span(left: timedelta) -> str:
    for unit, name in _UNITS:
        if left >= 2 * unit:
            return f"{left // unit} {name}"
    return f"{left // timedelta(minutes=1)} minutes"


class DailyWarnings:
    """Lets each warning through once a day."""

    def __init__(self) -> None:
        self._day: date | None = None
        self._said: set[str] = set()

    def is_due(self, about: str, now: datetime) -> bool:
        """Whether nothing was said `about` this today; from now on, it was."""
        if now.date() != self._day:
            self._day = now.date()
            self._said.clear()
        due = about not in self._said
        self._said.add(about)
        return due


class ExpiryWarnings:
    """Logs each warning once a day, however often a site connects."""

    def __init__(self, within: timedelta) -> None:
        self._within = within
        self._daily = DailyWarnings()

    def of_ours(self, cert: str, ends: datetime) -> None:
        """Warn of central's own certificate, the file `cert`, if it is time."""
        self._warn(f"The certificate {cert}", Path(cert).stem, ends)

    def of_site(self, peer: Peer) -> None:
        """Warn of a site's certificate, if it is time."""
        self._warn(f"The certificate of the site {peer.name}", peer.name, peer.not_after)

    def _warn(self, whose: str, name: str, ends: datetime) -> None:
        now = datetime.now(UTC)
        words = warning(whose, name, ends, self._within, now)
        if words and self._daily.is_due(whose, now):
            logger.warning("%s", words)
