"""Certificates of any age, in folders that are exchanged while both ends run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.certificates.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "certs")
