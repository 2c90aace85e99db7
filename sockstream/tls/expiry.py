"""Words about certificates that are going to expire, and about lists of revoked ones that did."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from . import words
from .contexts import Own
from .papers import Paths
from .peers import Peer
from .revoked import shortcomings

logger = logging.getLogger("sockstream.receiver")

_UNITS = ((timedelta(days=1), "days"), (timedelta(hours=1), "hours"))


def warning(whose: str, name: str, ends: datetime, within: timedelta, now: datetime) -> str:
    """What to say about a certificate that expires at `ends`; "" if that is not `within` now.

    `whose` begins the sentence, `name` is how `sockstream certs` calls it, "" if another authority
    made it. Times are aware.
    """
    if ends - now > within:
        return ""
    verb = f"expires in {_span(ends - now)}" if ends > now else "has expired"
    return f"{whose} {verb} (on {ends:%Y-%m-%d} at {ends:%H:%M} UTC). {words.renewal(name)}"


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

    def forget(self) -> None:
        """Everything may be said again."""
        self._said.clear()


class CertificateWarnings:
    """Logs each warning once a day, however often a site connects."""

    def __init__(self, within: timedelta) -> None:
        self._within = within
        self._daily = DailyWarnings()
        self._of_lists = DailyWarnings()

    def of_ours(self, cert: str, own: Own) -> None:
        """Warn of central's own certificate, the file `cert`, if it is time."""
        self._warn(f"The certificate {cert}", own.name, own.not_after)

    def of_site(self, peer: Peer) -> None:
        """Warn of a site's certificate, if it is time."""
        name = peer.name if peer.is_by_tool else ""
        self._warn(f"The certificate of the site {peer.name}", name, peer.not_after)

    def of_lists(self, files: Paths, peers: Iterable[Peer]) -> None:
        """Warn of what keeps us from knowing who is revoked among those that are connected."""
        issuers = {step.issuer for peer in peers for step in peer.chain}
        for error in shortcomings(files.crl or None, files.ca, issuers):
            if self._of_lists.is_due(error.words, datetime.now(UTC)):
                logger.warning("%s", error)

    def say_again(self) -> None:
        """Say what is wrong with the lists once more, as at the start."""
        self._of_lists.forget()

    def _warn(self, whose: str, name: str, ends: datetime) -> None:
        now = datetime.now(UTC)
        line = warning(whose, name, ends, self._within, now)
        if line and self._daily.is_due(whose, now):
            logger.warning("%s", line)
