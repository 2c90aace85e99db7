"""Migrations that change tables and write rows in turn, in one run of `migrate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from sockstream.exceptions import ConfigError
from sockstream.sender import capture
from sockstream.sender.capture import migrating
from tests.databases import Databases
from tests.integration.capture.replay import replayed, take, truth
from tests.zoo.models import Author, Essay, Slot

ROOT = Path(__file__).parents[3]


def _empty_database(using: str, databases: Databases, folder: Path) -> dict[str, Any]:
    """The settings of a database of its own beside the site's."""
    settings = {
        key: value
        for key, value in connections[using].settings_dict.items()
        if key in {"ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS"}
    }
    if connections[using].vendor == "sqlite":
        return settings | {"NAME": str(folder / "shop.sqlite3")}
    if connections[using].vendor == "postgresql":
        databases.new_postgresql(folder.name)
    else:
        with connections[using].cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{folder.name}`")
    return settings | {"NAME": folder.name}


def test_rows_that_migrations_write_between_changes_of_their_table(
    site: str, databases: Databases, tmp_path: Path
) -> None:
    package = "tests.integration.capture.shop"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"{package}.run"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": f"{package}.settings",
            "SHOP_DATABASE": json.dumps(_empty_database(site, databases, tmp_path)),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
