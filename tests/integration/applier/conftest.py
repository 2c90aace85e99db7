"""The applier's settings that some files ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from sockstream.receiver.applying import parts
from tests.integration.applier.parking import MODELS


@pytest.fixture
def parks() -> Iterator[None]:
    """Records that central cannot apply are parked."""
    with override_settings(SOCKSTREAM={"MODELS": MODELS, "ON_ERROR": "park"}):
        yield


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch of a group is written by itself, as if it were a large one."""
    monkeypatch.setattr(parts, "CHUNK_RECORDS", 1)
