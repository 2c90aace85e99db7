"""What has to be right before a site sends."""

from __future__ import annotations

from sockstream.conf import Settings
from sockstream.databases.readiness import require_migrations
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.rows import captured_models

from . import capture


def require_ready(using: str, settings: Settings) -> None:
    """Raises SockstreamError: migrations that are missing, nothing to capture, or lost triggers."""
    require_migrations(using, ["sockstream_sender"])
    if not captured_models(settings):
        raise ConfigError(
            'SOCKSTREAM["MODELS"] names no model, so nothing is captured',
            'Name app labels or models, such as "MODELS": ["polls"]',
        )
    if drifted := capture.drift(using):
        more = f" and {len(drifted) - 1} more" if len(drifted) > 1 else ""
        raise SockstreamError(
            "capture-drift",
            f"{drifted[0]}{more}: writes there are not captured as they should be",
            f"Run manage.py oplog_capture install --database {using}, and oplog_snapshot "
            "if anything was written meanwhile",
        )
