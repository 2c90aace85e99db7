"""The tests' settings with both ends in one database, which HUB_DATABASE names as JSON."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["HUB_DATABASE"])}
DATABASE_ROUTERS = []
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "polls",
    "sockstream.sender",
    "sockstream.receiver",
]
MIGRATION_MODULES = {}
SOCKSTREAM = {"MODELS": ["polls"], **json.loads(os.environ.get("HUB_SETTINGS", "{}"))}
