"""Wagtail's own test project with sockstream at work: a site, and central beside it.

SOCKSTREAM_APP_DATABASES gives both databases as JSON, SOCKSTREAM_APP_MEDIA the folder of images and
documents, SOCKSTREAM_TEST_SETTINGS more keys of SOCKSTREAM.
"""

from __future__ import annotations

import json
import os
from typing import Any

_databases = json.loads(os.environ["SOCKSTREAM_APP_DATABASES"])
# Wagtail's settings want to know, too.
os.environ["DATABASE_ENGINE"] = _databases["default"]["ENGINE"]

from wagtail.test.settings import *  # noqa: E402, F403
from wagtail.test.settings import INSTALLED_APPS  # noqa: E402

DATABASES: dict[str, Any] = _databases
DATABASE_ROUTERS = ["tests.third_party.router.Ends"]
MEDIA_ROOT = os.environ["SOCKSTREAM_APP_MEDIA"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
TEST_RUNNER = "tests.third_party.suite.Runner"
# The search index in the database's own way, kept up to date with every save.
WAGTAILSEARCH_BACKENDS = {"default": {"BACKEND": "wagtail.search.backends.database"}}

# Every app with tables, but those of sessions and content types.
LABELS = [
    "admin",
    "auth",
    "customuser",
    "demosite",
    "earlypage",
    "i18n",
    "routablepagetests",
    "simple_translation",
    "snippetstests",
    "streamfield_migration_tests",
    "taggit",
    "tests",
    "wagtailadmin",
    "wagtailcore",
    "wagtaildocs",
    "wagtailembeds",
    "wagtailforms",
    "wagtailimages",
    "wagtailredirects",
    "wagtailsearch",
    "wagtailsearchpromotions",
    "wagtailusers",
]
MIGRATION_MODULES = dict.fromkeys([*LABELS, "contenttypes", "sessions"])

INSTALLED_APPS = [*INSTALLED_APPS, "sockstream.sender", "sockstream.receiver"]
SOCKSTREAM: dict[str, Any] = {"MODELS": LABELS}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A virtual table, which triggers of the index fill at either end.
    SOCKSTREAM["EXCLUDE"] = ["wagtailsearch.sqliteftsindexentry"]
SOCKSTREAM |= json.loads(os.environ.get("SOCKSTREAM_TEST_SETTINGS", "{}"))
# Integer keys are fine as long as one site alone writes them.
SILENCED_SYSTEM_CHECKS = ["sockstream.W004", "sockstream.W101", "wagtailsearch.W001"]
