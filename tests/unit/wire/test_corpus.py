"""What fuzzing has found, replayed: nothing raises, nothing hangs, and memory is bounded.

`make fuzz` looks for more.
"""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest

from .corpus import KEPT_SIZE, kept
from .seeds import seeds
from .targets import CENTRAL_STATES, SITE_STATES, TARGETS, central_in, site_in

ROUNDS = 2_000
# For a session and its tables, then for each byte that a peer has sent.
MEMORY, FACTOR = 1 << 20, 200


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_is_survived(target: str) -> None:
    files = kept(target)
    assert len(files) >= 5
    for file in files:
        TARGETS[target](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_memory_is_bounded_by_what_came(target: str) -> None:
    for file in kept(target):
        data = file.read_bytes()
        assert len(data) <= KEPT_SIZE
        tracemalloc.start()
        try:
            TARGETS[target](data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY + FACTOR * len(data), file


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_of_what_was_found_are_survived(target: str) -> None:
    """The same every time: what a seed finds today it finds tomorrow."""
    random = Random(target)
    inputs = [file.read_bytes() for file in kept(target)]
    for _ in range(ROUNDS):
        data = bytearray(random.choice(inputs))
        for _ in range(random.randint(1, 4)):
            mutate(data, random, random.choice(inputs))
        TARGETS[target](bytes(data))


def mutate(data: bytearray, random: Random, other: bytes) -> None:
    """Change, drop, add or double some bytes, or go on with another input."""
    place = random.randint(0, len(data))
    match random.randint(0, 4):
        case 0:
            data[place : place + 1] = random.randbytes(1)
        case 1:
            del data[place : place + random.randint(1, 16)]
        case 2:
            data[place:place] = random.randbytes(random.randint(1, 8))
        case 3:
            data[place:place] = data[place : place + random.randint(1, 64)]
        case 4:
            data[place:] = other[random.randint(0, len(other)) :]


def test_the_seeds_are_in_the_corpus() -> None:
    """Else the protocol has changed: run `python -m tests.fuzz --seeds`."""
    for target, inputs in seeds().items():
        known = {file.read_bytes() for file in kept(target)}
        assert [data for data in inputs if data not in known] == []


def test_every_state_is_begun_from() -> None:
    assert [central_in(state).state for state in CENTRAL_STATES] == list(CENTRAL_STATES)
    assert [site_in(state).state for state in SITE_STATES] == list(SITE_STATES)
