"""The tests' settings with the migration."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import MIGRATION_MODULES

MIGRATION_MODULES["polls"] = "tests.faults.migrating.migrations"
