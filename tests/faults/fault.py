"""A fault as the nemesis knows it: something that begins, lasts a while, and is over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.faults.rig import Rig

Begin = Callable[[Rig, Random], AbstractContextManager[None]]


class Lane(StrEnum):
    """What a fault is about. Two that share a lane are never on at once."""

    LINK = "link"
    SENDER = "sender"
    RECEIVER = "receiver"
    DATABASE = "database"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Fault:
    """`begin` brings it about on entering, and heals it on leaving.

    `shortest` and `longest`: seconds. `excuses`: parts of the last words with which an end may end
    by itself because of it. `vendor`: the databases that can have it, if not all.
    """

    name: str
    lanes: frozenset[Lane]
    begin: Begin
    shortest: float
    longest: float
    excuses: frozenset[str] = frozenset()
    vendor: str = ""


FAULTS: list[Fault] = []


def fault(
    *lanes: Lane,
    shortest: float = 0.1,
    longest: float = 2.0,
    excuses: frozenset[str] = frozenset(),
    vendor: str = "",
) -> Callable[[Begin], Begin]:
    """Make a context manager a fault that can be drawn; its name is the function's."""

    def register(begin: Begin) -> Begin:
        name = getattr(begin, "__name__", "").replace("_", " ")
        FAULTS.append(Fault(name, frozenset(lanes), begin, shortest, longest, excuses, vendor))
        return begin

    return register
