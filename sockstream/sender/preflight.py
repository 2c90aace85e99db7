"""What has to be right before a site sends."""

from __future__ import annotations

from sockstream.conf import Settings
from sockstream.databases.homes import require_homes
from sockstream.databases.readiness import (
    require_autocommit,
    require_early_locks,
    require_migrations,
)
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.rows import captured_models

from . import capture
from .models import Capture


def require_ready(using: str, settings: Settings) -> None:
    """Raises SockstreamError: migrations that are missing, nothing to capture, models that are kept
    apart from our tables, lost triggers, a database without autocommit, or an SQLite that would
    refuse the application because of us."""
    require_autocommit(using)
    require_early_locks(using)
    require_migrations(using, ["sockstream_sender"])
    chosen = captured_models(settings)
    if not chosen:
        raise ConfigError(
            'SOCKSTREAM["MODELS"] names no model, so nothing is captured',
            'Name app labels or models, such as "MODELS": ["polls"]',
        )
    require_homes(using, chosen, Capture)
    if drifted := capture.drift(using):
        more = f" and {len(drifted) - 1} more" if len(drifted) > 1 else ""
        raise SockstreamError(
            "capture-drift",
            f"{drifted[0]}{more}: writes there are not captured as they should be",
            f"Run manage.py oplog_capture install --database {using}; "
            "a snapshot of what was missed follows by itself",
        )
