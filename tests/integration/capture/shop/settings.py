"""The tests' settings with the shop, whose database SHOP_DATABASE names as JSON."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

DATABASES = {"default": json.loads(os.environ["SHOP_DATABASE"])}
DATABASE_ROUTERS = []
INSTALLED_APPS = ["tests.integration.capture.shop", "sockstream.sender"]
MIGRATION_MODULES = {}
SOCKSTREAM = {"MODELS": ["shop"]}
