"""What has to be so before central may listen."""

from __future__ import annotations

import logging

from django.db import connections

from sockstream.conf import Settings
from sockstream.databases.homes import require_homes
from sockstream.databases.readiness import require_autocommit, require_migrations
from sockstream.exceptions import ConfigError
from sockstream.rows import captured_models, shared_models

from . import checks
from .models import Offset

logger = logging.getLogger("sockstream.receiver")


def require_ready(using: str, settings: Settings) -> None:
    """Check the models and the database `using`.

    Raises SockstreamError: no model or an unknown one, or one that is kept apart from our tables;
    migrations not applied, a database that does not answer or has no autocommit. What only
    makes an ack worth less is logged.
    """
    models = captured_models(settings)
    if not models:
        raise ConfigError(
            'SOCKSTREAM["MODELS"] names no model, so no site may write anything',
            'Name app labels or models, such as "MODELS": ["polls"]',
        )
    shared_models(settings)
    require_autocommit(using)
    require_homes(using, models, Offset)
    labels = {model._meta.app_label for model in models}
    require_migrations(using, {"sockstream_receiver", *labels})
    if not checks.synchronous_enough(using):
        logger.warning(
            "The SQLite database %r does not wait for the disk: after a power loss it may lack "
            "what was acked. Set PRAGMA synchronous=FULL in its OPTIONS",
            using,
        )
    # The threads of the pool have their own.
    connections[using].close()
