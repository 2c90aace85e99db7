"""Who is next: neither a backlog, nor who writes now and then, nor one source keeps others out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockstream.receiver.streams.turns import Turn, Turns


def turns(count: int) -> list[Turn]:
    return [lambda: None for _ in range(count)]


def taken(waiting: Turns) -> Turn:
    found = waiting.take()
    assert found is not None
    return found[1]


@given(st.lists(st.booleans(), max_size=30))
def test_each_kind_waits_for_one_of_the_other(kinds: list[bool]) -> None:
    waiting = Turns(most=30)
    given = list(zip(turns(len(kinds)), kinds, strict=True))
    for turn, goes_on in given:
        waiting.put("site", turn, goes_on=goes_on)
    order = [taken(waiting) for _ in given]
    assert len(waiting) == 0
    for kind in (False, True):
        mine = [turn for turn, goes_on in given if goes_on is kind]
        assert [turn for turn in order if turn in mine] == mine
        # Its n-th is at most behind n others.
        assert all(order.index(turn) <= 2 * n + 1 for n, turn in enumerate(mine))


def test_who_comes_goes_before_those_who_go_on() -> None:
    waiting = Turns(most=4)
    *old, new = turns(4)
    for turn in old:
        waiting.put("site", turn, goes_on=True)
    waiting.put("site", new, goes_on=False)
    assert [taken(waiting) for _ in range(4)] == [new, *old]
    assert waiting.take() is None


def test_one_source_leaves_a_place_to_the_others() -> None:
    """However many streams it has, and whether they go on or not."""
    waiting = Turns(most=3)
    for number, turn in enumerate(turns(8)):
        waiting.put("busy", turn, goes_on=number % 2 == 0)
    at_work = [waiting.take() for _ in range(3)]
    assert None not in at_work
    assert waiting.take() is None
    [other] = turns(1)
    waiting.put("other", other, goes_on=False)
    assert waiting.take() == ("other", other)
    assert waiting.take() is None
    waiting.end("busy")
    assert waiting.take() is not None
    assert waiting.take() is None
    assert len(waiting) == 4


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_every_turn_is_taken_once(kinds: list[tuple[str, bool]]) -> None:
    waiting = Turns(most=2)
    given = dict(zip(map(id, made := turns(len(kinds))), kinds, strict=True))
    for turn, (source, goes_on) in zip(made, kinds, strict=True):
        waiting.put(source, turn, goes_on=goes_on)
    seen: list[int] = []
    while waiting:
        now = []
        while (found := waiting.take()) is not None:
            now.append(found[0])
            seen.append(id(found[1]))
            assert given[id(found[1])][0] == found[0]
        assert now
        assert all(now.count(source) <= 2 for source in now)
        for source in now:
            waiting.end(source)
    assert sorted(seen) == sorted(given)
    assert not waiting._at_work
