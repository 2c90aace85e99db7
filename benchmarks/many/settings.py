"""The tests' settings, with the models of this app captured, or those of `polls` if it has none."""

from __future__ import annotations

from benchmarks.many import COUNT
from tests.settings import *  # noqa: F403

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "polls",
    "benchmarks.many",
    "sockstream.sender",
    "sockstream.receiver",
]
MIGRATION_MODULES = {"contenttypes": None, "many": None}
SOCKSTREAM = {**SOCKSTREAM, "MODELS": ["many" if COUNT else "polls"]}  # noqa: F405
