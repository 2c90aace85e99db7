"""What is noticed of a stream at each heartbeat, with a clock that is a number."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sockstream.conf import Settings
from sockstream.receiver.streams.pulse import PINGS, Pulse


class Queue:
    """What a pulse asks of a stream's queue."""

    busy = True
    waiting = False
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
    assert made.look(109) is None
    assert len(caplog.messages) == 4


def look_says(made: Pulse, now: float, caplog: pytest.LogCaptureFixture) -> bool:
    before = len(caplog.messages)
    assert made.look(now) is None
    return len(caplog.messages) > before


def test_a_group_whose_rest_does_not_come_ends_the_link() -> None:
    queue = Queue()
    queue.waiting = True
    made = pulse(queue, GROUP_TIMEOUT=30.0)
    assert [made.look(now) for now in (10, 20)] == [None, None]
    error = made.look(30)
    assert error is not None
    assert (error.code, error.words) == ("silence", "The rest of a group has not come for 30 s")


def test_pings_do_not_count_and_records_do() -> None:
    queue = Queue()
    queue.waiting = True
    made = pulse(queue, GROUP_TIMEOUT=30.0)
    for now in range(10, 100, 10):
        made.received(PINGS)
        assert made.look(now) is None
    made.came(95)
    for now in range(100, 120, 10):
        made.received(PINGS - 1)
        assert made.look(now) is None
    assert made.look(130) is not None
