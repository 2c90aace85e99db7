"""An authority for all tests of central's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.trust import Trust


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path / "certs")
