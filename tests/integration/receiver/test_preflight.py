"""What central says before it listens."""

from __future__ import annotations

import pytest
from django.db import connections

from sockstream.conf import Settings
from sockstream.receiver.preflight import require_ready


@pytest.mark.parametrize(("synchronous", "lines"), [("NORMAL", 1), ("FULL", 0), ("EXTRA", 0)])
def test_a_sqlite_that_forgets_at_a_power_loss_is_labelled(
    databases: object, caplog: pytest.LogCaptureFixture, synchronous: str, lines: int
) -> None:
    databases.clean("central_sqlite")  # type: ignore[attr-defined]
    with connections["central_sqlite"].cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous = {synchronous}")
    require_ready("central_sqlite", Settings(MODELS=("zoo",)))
    assert len([text for text in caplog.messages if "may lack what was acked" in text]) == lines
    assert connections["central_sqlite"].connection is None, "the threads have their own"
