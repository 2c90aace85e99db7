"""The tests' settings with that app."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, MIGRATION_MODULES, SOCKSTREAM

INSTALLED_APPS.append("tests.faults.growing")
SOCKSTREAM["MODELS"] = [*SOCKSTREAM["MODELS"], "growing"]
if "GROWN" in os.environ:
    MIGRATION_MODULES["growing"] = "tests.faults.growing.later"
