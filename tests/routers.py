"""Which database holds what: the sender's tables at a site, the receiver's at central."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections


class Homes:
    """The test suite's database router."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """False for a table that has no business in that database; None where anything goes."""
        end = settings.DEFAULT_HOME if db == DEFAULT_DB_ALIAS else db
        if app_label == "sockstream_sender":
            return end.startswith("site_")
        if app_label == "sockstream_receiver":
            return end.startswith("central_")
        if app_label == "zoo_pg":
            return connections[db].vendor == "postgresql"
        return None
