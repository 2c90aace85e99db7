"""Marks of a snapshot that follow each other: those that change nothing are left out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from sockstream.receiver.applying.parts import Header, Part, runs
from sockstream.wire.records import BEGIN, END, INSERT, LOAD, Layout

NAMES = {"B": BEGIN, "L": LOAD, "E": END, "r": INSERT}
LAYOUTS = (Layout("a.a", ("id",), ()), Layout("a.b", ("id",), ()))
HEADER = Header(LAYOUTS, {}, "")


def written(text: str, *, pieces: int = 1) -> str:
    """What is written of these marks and rows (r), each with the number of its layout."""
    words = enumerate(text.split())
    records = [[NAMES[it[0]], int(it[1]), [n] if it[0] == "r" else []] for n, it in words]
    size = -(-len(records) // pieces)
    parts = [Part(HEADER, 1 + at, records[at : at + size]) for at in range(0, len(records), size)]
    names = {number: name for name, number in NAMES.items()}
    left = [record for run in runs(parts) for part in run for record in part.records]
    return " ".join(f"{names[op]}{index}" for op, index, _ in left)


@pytest.mark.parametrize(
    ("came", "left"),
    [
        ("B0 L0 r0 r0 E0 L1 E1", "B0 L0 r0 r0 E0 L1 E1"),
        ("B0 B0 B0", "B0"),
        ("B0 B1 B0 B1", "B0 B1"),
        ("L0 L0 r0 L0", "L0 r0 L0"),
        ("B0 L0 B0 L0 B0 L0 r0", "B0 L0 r0"),
        ("B0 L0 E0 B0 L0 E0 B0 L0 E0", "B0 L0 E0"),
        ("r0 E0 B0 L0 r0", "r0 E0 B0 L0 r0"),
        ("E0 L0 E0 L0 E0", "L0 E0"),
        ("E0 B1 E0 B1 r1", "E0 B1 r1"),
        ("B0 E0 B0", "B0 E0 B0"),
    ],
)
def test_idle_marks_are_left_out(came: str, left: str) -> None:
    for pieces in (1, 2, 5):
        assert sorted(written(came, pieces=pieces).split()) == sorted(left.split())


def state_after(marks: Sequence[str]) -> tuple[bool, bool, str]:
    """A model's state: whether what was there is gone, whether a new generation began, its phase.

    Rows of older generations are gone at an END; what came before is of the one before a BEGIN.
    """
    gone, begun, phase = False, False, "none"
    for mark in marks:
        if mark == "B":
            begun, phase = True, "waiting"
        elif mark == "L":
            phase = "loading"
        else:
            gone, phase = gone or begun, "none"
    return gone, begun, phase


@pytest.mark.parametrize("length", range(1, 8))
def test_what_is_left_means_the_same(length: int) -> None:
    """Every sequence of marks; that an END was there counts too: it ends what came before."""
    for marks in itertools.product("BLE", repeat=length):
        left = written(" ".join(f"{mark}0" for mark in marks)).replace("0", "").split()
        assert state_after(left) == state_after(marks), (marks, left)
        assert ("E" in left) == ("E" in marks)
        assert len(left) <= 5


def test_rows_between_marks_stay_together() -> None:
    """One run of rows is one net effect, however many marks are around it."""
    records = [[BEGIN, 0, []], *([INSERT, 0, [n]] for n in range(50)), [END, 0, []]]
    assert [len(run[0].records) for run in runs([Part(HEADER, 1, records)])] == [1, 50, 1]
