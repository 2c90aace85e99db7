"""A site whose application `shift` is written anew all the time, in the folder SHIFT_FOLDER."""

from __future__ import annotations

import json
import os
import sys

from tests.settings import *  # noqa: F403

sys.path.insert(0, os.environ["SHIFT_FOLDER"])
DATABASES = {"default": json.loads(os.environ["SHIFT_DATABASE"])}
DATABASE_ROUTERS = []
INSTALLED_APPS = ["shift", "sockstream.sender"]
MIGRATION_MODULES = {}
SOCKSTREAM = {"MODELS": ["shift"]}
