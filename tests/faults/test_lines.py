"""A few sites upload over lines that break; `make lines` is the same with many, and for longer."""

from __future__ import annotations

import sys

import pytest

from tests.faults.lines import ROOM, Upload
from tests.unit.trust import Trust

SITES, RECORDS = 4, 20_000
EVERY = 1.0
# So slow that no line holds for a whole group.
RATE = 400_000.0
WITHIN = 40.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_uploads_get_through_lines_that_break(central: str, trust: Trust) -> None:
    result = Upload(SITES, RECORDS, EVERY, WITHIN, rate=RATE).run(central, trust)
    sys.stdout.write(f"{result}\n")
    assert result.arrived == SITES * RECORDS
    assert result.writes
    assert result.breaks
    assert result.peak - result.before < ROOM
