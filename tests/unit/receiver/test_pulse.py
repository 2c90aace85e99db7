"""What is noticed of a stream at each heartbeat, with a clock that is a number."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sockstream.conf import Settings
from sockstream.receiver.streams.pulse import Pulse


class Queue:
    """What a pulse asks of a stream's queue."""

    busy = True
    given = 7


def pulse(queue: Any, **settings: float) -> Pulse:
    return Pulse("site/main", queue, Settings(**settings), 0.0)  # type: ignore[arg-type]


def test_a_transaction_that_takes_long_is_named_and_not_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After STUCK_AFTER seconds, then after twice as many, and so on."""
    made = pulse(Queue(), STUCK_AFTER=10.0)
    with caplog.at_level(logging.WARNING):
        named = [now for now in range(0, 100, 5) if look_says(made, now, caplog)]
    assert named == [15, 25, 45, 85]
    assert "the transaction up to 7 has been at work for 15 seconds" in caplog.messages[0]
    made.moved(100)
    made.look(109)
    assert len(caplog.messages) == 4


def look_says(made: Pulse, now: float, caplog: pytest.LogCaptureFixture) -> bool:
    before = len(caplog.messages)
    made.look(now)
    return len(caplog.messages) > before
