"""The applier's setting that some files ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.integration.applier.parking import MODELS


@pytest.fixture
def parks() -> Iterator[None]:
    """Records that central cannot apply are parked."""
    with override_settings(SOCKSTREAM={"MODELS": MODELS, "ON_ERROR": "park"}):
        yield
