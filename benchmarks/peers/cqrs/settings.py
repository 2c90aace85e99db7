"""Django settings of both services. CQRS_BENCH says which: JSON with role, databases, broker."""

from __future__ import annotations

import json
import os

_given = json.loads(os.environ["CQRS_BENCH"])

# The consumer closes connections that are too old before each message.
DATABASES = {name: {**given, "CONN_MAX_AGE": None} for name, given in _given["databases"].items()}
INSTALLED_APPS = ["dj_cqrs", f"benchmarks.peers.cqrs.{_given['role']}"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CQRS = {
    "transport": "benchmarks.peers.cqrs.transport.Transport",
    "url": _given["broker"],
    "queue": "central",
}
