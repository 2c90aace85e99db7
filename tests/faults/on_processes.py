"""Faults of the two programs: killed, stopped, asked to end, started twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from tests.ends import End, SenderProcess
from tests.faults.fault import Lane, fault
from tests.faults.rig import LOCKED_OUT, Rig, address_of

ONE_OF_TWO_WITHIN = 60.0
# A server notices a client's death a moment after it.
LOCKED = frozenset({LOCKED_OUT})


@fault(Lane.SENDER, shortest=0.0, longest=1.0, excuses=LOCKED)
@contextmanager
def sender_killed(rig: Rig, draw: Random) -> Iterator[None]:
    with killed(rig, rig.sender):
        yield


@fault(Lane.SENDER, shortest=0.1, longest=4.0, excuses=LOCKED)
@contextmanager
def sender_stopped_and_continued(rig: Rig, draw: Random) -> Iterator[None]:
    with stopped(rig.sender):
        yield


@fault(Lane.SENDER, shortest=0.0, longest=0.5, excuses=LOCKED)
@contextmanager
def sender_asked_to_end(rig: Rig, draw: Random) -> Iterator[None]:
    ask_to_end(rig, rig.sender)
    yield


@fault(Lane.SENDER, shortest=0.0, longest=0.5, excuses=LOCKED)
@contextmanager
def second_sender_started(rig: Rig, draw: Random) -> Iterator[None]:
    leave_one(rig, rig.sender)
    yield


@fault(Lane.SENDER, shortest=0.0, longest=0.5, excuses=LOCKED)
@contextmanager
def two_senders_started_at_once(rig: Rig, draw: Random) -> Iterator[None]:
    rig.sender.kill()
    rig.sender.start()
    leave_one(rig, rig.sender)
    yield


@fault(Lane.RECEIVER, shortest=0.0, longest=1.0)
@contextmanager
def receiver_killed(rig: Rig, draw: Random) -> Iterator[None]:
    with killed(rig, rig.active):
        yield


@fault(Lane.RECEIVER, shortest=0.1, longest=4.0)
@contextmanager
def receiver_stopped_and_continued(rig: Rig, draw: Random) -> Iterator[None]:
    with stopped(rig.active):
        yield


@fault(Lane.RECEIVER, shortest=0.0, longest=0.5)
@contextmanager
def receiver_asked_to_end(rig: Rig, draw: Random) -> Iterator[None]:
    ask_to_end(rig, rig.active)
    yield


@fault(Lane.RECEIVER, shortest=0.0, longest=1.0)
@contextmanager
def fail_over_from_a_killed_receiver(rig: Rig, draw: Random) -> Iterator[None]:
    before = rig.active
    rig.proxy.route(address_of(rig.standby))
    with killed(rig, before):
        yield


@fault(Lane.RECEIVER, shortest=0.5, longest=6.0)
@contextmanager
def fail_over_from_a_stopped_receiver(rig: Rig, draw: Random) -> Iterator[None]:
    """It wakes when the other one has the stream, with a batch in its hands."""
    before = rig.active
    with stopped(before):
        rig.proxy.route(address_of(rig.standby))
        rig.proxy.cut(reset=draw.random() < 0.5)
        yield


@fault(Lane.SNAPSHOT, shortest=0.2, longest=3.0)
@contextmanager
def snapshot_taken(rig: Rig, draw: Random) -> Iterator[None]:
    rig.take_snapshot()
    yield


@fault(Lane.SNAPSHOT, shortest=0.2, longest=3.0)
@contextmanager
def snapshot_killed_and_taken_again(rig: Rig, draw: Random) -> Iterator[None]:
    """What was written since the first one began waits for the second one."""
    first = rig.take_snapshot()
    yield
    first.kill()


@contextmanager
def killed(rig: Rig, end: End) -> Iterator[None]:
    """SIGKILL, and started again after a while."""
    rig.down.add(end)
    end.kill()
    try:
        yield
    finally:
        rig.down.discard(end)
        end.start()


@contextmanager
def stopped(end: End) -> Iterator[None]:
    """SIGSTOP, then SIGCONT."""
    end.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        end.signal(signal.SIGCONT)


def ask_to_end(rig: Rig, end: End) -> None:
    """SIGTERM. The supervisor sees to the rest, as the end may need what another fault has."""
    rig.leaving.add(end)
    end.signal(signal.SIGTERM)


def leave_one(rig: Rig, running: SenderProcess) -> None:
    """Start a second sender beside this one, and see that one of the two ends with a clear word."""
    second = rig.make_sender()
    rig.keep(second)
    rig.down.add(running)
    try:
        both_running = "one of two senders has ended"
        rig.wait(lambda: not (running.running and second.running), both_running, ONE_OF_TWO_WITHIN)
    finally:
        rig.down.discard(running)
        if second.running and running.running:
            second.kill()
    loser = running if second.running else second
    status = loser.wait()
    assert status == 1, f"it ended with {status}:\n{loser.log}"
    assert any(part in loser.lines[-1] for part in rig.excused), loser.log
    if second.running:
        rig.replace_sender(second)
