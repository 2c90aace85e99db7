"""Which database holds what: the site's is `default`, central's is `central`."""

from __future__ import annotations

from typing import Any

SITE = "default"
CENTRAL = "central"
ONLY_AT = {"sockstream_sender": SITE, "sockstream_receiver": CENTRAL}


class Ends:
    """The router of the application's site and of its central."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """False for our tables in the other end's database; None for the application's."""
        return db == ONLY_AT[app_label] if app_label in ONLY_AT else None
