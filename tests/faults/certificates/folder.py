"""A folder of certificates as both ends name it, in which they are exchanged while these run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sockstream.certs.authority import Pair
from tests.unit.trust import Trust

DAY = timedelta(days=1)


@dataclass
class Folder:
    """`localhost` and `site` are where `Certificates` would have them."""

    folder: Path

    def __post_init__(self) -> None:
        self.trust = Trust(self.folder)

    def settings(self, name: str) -> dict[str, str]:
        """The keys of SOCKSTREAM for the end that is called `name`."""
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        return {"CA": str(self.folder / "ca.crt"), "CERT": str(cert), "KEY": str(key)}

    def make(self, name: str, lasts: timedelta = 365 * DAY) -> datetime:
        """A new certificate in the place of the old one; when it expires."""
        now = datetime.now(UTC)
        days = lasts // DAY + 1
        self.trust.write(name, self._pair(name, now + lasts - days * DAY, days))
        return now + lasts

    def _pair(self, name: str, made: datetime, days: int) -> Pair:
        if name == "localhost":
            return self.trust.authority.server(("localhost", "127.0.0.1"), made, days)
        return self.trust.authority.client(name, made, days)
