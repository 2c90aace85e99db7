"""The delays between two attempts to reach central."""

from __future__ import annotations

from sockstream.sender.backoff import Backoff


def test_the_ceiling_doubles_up_to_the_longest() -> None:
    backoff = Backoff(10.0, draw=lambda low, high: high)
    assert [backoff.next() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_every_delay_from_zero_to_the_ceiling_can_come() -> None:
    delays = [Backoff(60.0).next() for _ in range(2_000)]
    assert 0.0 <= min(delays) < 0.05
    assert 0.95 < max(delays) <= 1.0


def test_an_ack_starts_it_anew() -> None:
    backoff = Backoff(60.0, draw=lambda low, high: high)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() == 1.0


def test_a_thousand_failures_do_not_overflow() -> None:
    backoff = Backoff(60.0, draw=lambda low, high: high)
    assert {backoff.next() for _ in range(2_000)} == {1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0}
