"""Faults of the network between the ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from tests.faults.fault import Lane, fault
from tests.faults.flows import Direction
from tests.faults.rig import Rig, address_of

# A group of records is some hundred bytes to some kilobytes.
LONGEST_CUT = 20_000
CUT_WITHIN = 5.0
# Longer than it takes either end to notice a dead line.
DEAD = 4.0
UP, DOWN = Direction.UP, Direction.DOWN


@fault(Lane.LINK)
@contextmanager
def connection_reset(rig: Rig, draw: Random) -> Iterator[None]:
    rig.proxy.cut(reset=True)
    yield


@fault(Lane.LINK)
@contextmanager
def connection_ended(rig: Rig, draw: Random) -> Iterator[None]:
    rig.proxy.cut(reset=False)
    yield


@fault(Lane.LINK)
@contextmanager
def connection_cut_inside_of_a_frame(rig: Rig, draw: Random) -> Iterator[None]:
    rig.proxy.cut_after(draw.randint(1, LONGEST_CUT), UP).wait(CUT_WITHIN)
    yield


@fault(Lane.LINK)
@contextmanager
def connection_cut_inside_of_an_ack(rig: Rig, draw: Random) -> Iterator[None]:
    rig.proxy.cut_after(draw.randint(1, 300), DOWN).wait(CUT_WITHIN)
    yield


@fault(Lane.LINK)
@contextmanager
def connections_refused(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.refusing():
        rig.proxy.cut(reset=True)
        yield


@fault(Lane.LINK, longest=DEAD)
@contextmanager
def line_stalled(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.stalled(*draw.choice([(UP,), (DOWN,), (UP, DOWN)])):
        yield


@fault(Lane.LINK, longest=DEAD)
@contextmanager
def line_dead(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.half_open():
        yield


@fault(Lane.LINK, longest=DEAD)
@contextmanager
def records_lost_on_the_way(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.half_open(UP):
        yield


@fault(Lane.LINK, longest=DEAD)
@contextmanager
def acks_lost_on_the_way(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.half_open(DOWN):
        yield


@fault(Lane.LINK, shortest=1.0, longest=4.0)
@contextmanager
def line_slow(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.slow(10 ** draw.uniform(3.5, 5.5), draw.uniform(0, 0.3)):
        yield


@fault(Lane.LINK)
@contextmanager
def bytes_one_by_one(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.split(1):
        yield


@fault(Lane.LINK)
@contextmanager
def bytes_in_ragged_pieces(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.split(draw.randint(2, 2_000), ragged=True):
        yield


@fault(Lane.LINK)
@contextmanager
def bytes_coalesced(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.coalesced(draw.uniform(0.02, 0.3)):
        yield


@fault(Lane.LINK)
@contextmanager
def bit_flipped(rig: Rig, draw: Random) -> Iterator[None]:
    rig.proxy.flip_bit(draw.choice([UP, DOWN]))
    yield


@fault(Lane.LINK, shortest=1.0)
@contextmanager
def connection_duplicated(rig: Rig, draw: Random) -> Iterator[None]:
    with rig.proxy.duplicated():
        rig.proxy.cut(reset=True)
        yield


@fault(Lane.LINK)
@contextmanager
def fail_over_inside_of_a_batch(rig: Rig, draw: Random) -> Iterator[None]:
    """The other receiver goes on, on the same database."""
    rig.proxy.route(address_of(rig.standby))
    if not rig.proxy.cut_after(draw.randint(1, LONGEST_CUT), UP).wait(CUT_WITHIN):
        rig.proxy.cut(reset=True)
    yield


@fault(Lane.LINK)
@contextmanager
def fail_over_unheard_of(rig: Rig, draw: Random) -> Iterator[None]:
    """The receiver before hears nothing of it: it holds what it has for as long as it may."""
    with rig.proxy.half_open():
        yield
    rig.proxy.route(address_of(rig.standby))
