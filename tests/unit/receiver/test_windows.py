"""All windows together stay bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockstream.receiver.roads.mtls.admission import SMALLEST_WINDOW, Windows

MIB = 1 << 20


def test_the_first_links_get_the_largest_window() -> None:
    windows = Windows(8 * MIB, 256 * MIB)
    assert [windows.take() for _ in range(20)] == [8 * MIB] * 20


def test_a_thousand_links_share_what_there_is() -> None:
    windows = Windows(8 * MIB, 256 * MIB)
    taken = [windows.take() for _ in range(1000)]
    assert taken == sorted(taken, reverse=True)
    assert taken[-1] == SMALLEST_WINDOW
    assert sum(taken) < 256 * MIB + 1000 * SMALLEST_WINDOW


def test_a_window_set_smaller_than_the_smallest_stays_as_set() -> None:
    assert Windows(1000, 32_000).take() == 1000


@given(st.lists(st.booleans(), max_size=200))
def test_what_is_given_back_can_be_taken_again(steps: list[bool]) -> None:
    windows = Windows(MIB, 32 * MIB)
    taken: list[int] = []
    for take in steps:
        if take or not taken:
            taken.append(windows.take())
        else:
            windows.give_back(taken.pop())
        assert windows.left + sum(taken) == 32 * MIB
        assert windows.left > -SMALLEST_WINDOW * len(taken) - 1
