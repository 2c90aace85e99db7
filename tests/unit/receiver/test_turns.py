"""Who is next: neither a backlog nor those who write now and then keep the others out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.receiver.streams.turns import Turn, Turns


def turns(count: int) -> list[Turn]:
    return [lambda: None for _ in range(count)]


@given(st.lists(st.booleans(), max_size=30))
def test_each_kind_waits_for_one_of_the_other(kinds: list[bool]) -> None:
    waiting = Turns()
    given = list(zip(turns(len(kinds)), kinds, strict=True))
    for turn, goes_on in given:
        waiting.put(turn, goes_on=goes_on)
    taken = [waiting.take() for _ in given]
    assert len(waiting) == 0
    for kind in (False, True):
        mine = [turn for turn, goes_on in given if goes_on is kind]
        assert [turn for turn in taken if turn in mine] == mine
        # Its n-th is at most behind n others.
        assert all(taken.index(turn) <= 2 * n + 1 for n, turn in enumerate(mine))


def test_who_comes_goes_before_those_who_go_on() -> None:
    waiting = Turns()
    *old, new = turns(4)
    for turn in old:
        waiting.put(turn, goes_on=True)
    waiting.put(new, goes_on=False)
    assert [waiting.take() for _ in range(4)] == [new, *old]
    with pytest.raises(IndexError):
        waiting.take()
