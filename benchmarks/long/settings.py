"""The tests' settings, with the models of this app captured and no others."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "benchmarks.long",
    "sockstream.sender",
    "sockstream.receiver",
]
MIGRATION_MODULES = {"contenttypes": None, "long": None}
SOCKSTREAM = {**SOCKSTREAM, "MODELS": ["long"]}  # noqa: F405
