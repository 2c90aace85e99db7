"""MariaDB with mysqlclient: everything else here runs with PyMySQL, whose errors look different."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.databases import Databases

ROOT = Path(__file__).resolve().parents[2]
# Values of every type, there and back, and what the database refuses.
FILES = ("capture/test_values.py", "applier/test_fields.py", "applier/test_stops.py")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_mysqlclient(databases: Databases) -> None:
    """Some of the tests again, in a process of their own, on the server that runs already."""
    if not [*metadata.distributions(name="mysqlclient")]:
        pytest.skip("mysqlclient is not installed: CONTRIBUTING.md says what it is built with")
    databases.clean("site_maria", "central_maria")
    files = [f"tests/integration/{name}" for name in FILES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "maria", *files],
        cwd=ROOT,
        env=os.environ | {"SOCKSTREAM_TEST_MYSQL": "mysqlclient"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE), done.stdout
