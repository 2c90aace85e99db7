"""A history: groups of records, and the rows that a site has after them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from sockstream.wire.digest import ZERO
from sockstream.wire.records import Batch, BatchBuilder
from tests.zoo import models as zoo

from .site import Habits, Record, Site
from .snapshots import Snapshots
from .tables import Key, Table, Values, tables
from .writes import Draw, Writer

PLAIN: dict[str, list[str]] = {
    "people": ["zoo.person", "zoo.passport", "zoo.profile", "zoo.profilepicture"],
    "teams": ["zoo.person", "zoo.team", "zoo.membership"],
    "cities": ["zoo.country", "zoo.city"],
    "slots": ["zoo.slot", "zoo.pairing", "zoo.ranked", "zoo.current"],
    "pizzas": ["zoo.pizza", "zoo.topping"],
    "parameters": ["zoo.parameter", "zoo.parameteruse", "zoo.translation"],
    "counters": ["zoo.counter", "zoo.reading"],
    "halls": ["zoo.hall", "zoo.seat"],
    "circles": ["zoo.chicken", "zoo.egg", "zoo.category"],
    "trees": ["zoo.tree", "zoo.branch", "zoo.leaf", "zoo.bird"],
}
"""Tables that have to do with each other, few at a time so that their rows do too."""

NUMBERED: dict[str, list[str]] = {
    "accounts": ["ledger.account", "ledger.entry", "ledger.card", "ledger.guess"],
    "accounts alone": ["ledger.account"],
    "heirs": ["heirs.heir", "heirs.portrait"],
    "essays": ["zoo.author", "zoo.essay", "zoo.comment"],
    "portraits": ["zoo.author", "zoo.portrait", "zoo.frame", "zoo.signature"],
    "machines": ["zoo.asset", "zoo.machine"],
}
"""Such tables whose rows central numbers by itself."""

if hasattr(zoo, "Root"):  # the database cascades
    PLAIN["roots"] = ["zoo.tree", "zoo.root", "zoo.fruit"]

SCENES = PLAIN | NUMBERED


@dataclass(frozen=True)
class Features:
    """What a history may contain beside plain writes.

    `twice`: a snapshot that is killed and taken again, in the same group.
    """

    habits: Habits = field(default_factory=Habits)
    snapshots: bool = True
    twice: bool = True


_EVERYTHING = Features()

Scenes = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Group:
    """Records that are applied together. `whole`: they may not be cut, see `Batch.cut`."""

    records: tuple[Record, ...]
    whole: bool


@dataclass(frozen=True)
class History:
    """What a site sent, and what its tables hold."""

    tables: dict[str, Table]
    groups: tuple[Group, ...]
    rows: dict[str, dict[Key, Values]] = field(repr=False)


@st.composite
def histories(draw: Draw, features: Features = _EVERYTHING, scenes: Scenes = SCENES) -> History:
    """Any valid history of a site with the tables of one scene."""
    known = tables(scenes[draw(st.sampled_from(sorted(scenes)))])
    site = Site(known, habits=features.habits)
    writer = Writer(site, draw)
    groups: list[Group] = []
    for _ in range(draw(st.integers(1, 5))):
        first = len(site.records)
        snapshot = features.snapshots and draw(st.integers(0, 4)) == 0
        if snapshot:
            Snapshots(writer, features.twice).take()
        else:
            for _ in range(draw(st.integers(1, 3))):
                writer.transaction()
        if len(site.records) > first:
            groups.append(Group(tuple(site.records[first:]), snapshot))
    return History(known, tuple(groups), site.rows)


@st.composite
def in_batches(draw: Draw, history: History) -> list[Batch]:
    """The batches of a history, cut anywhere: between records, and by the site within groups."""
    most = draw(st.sampled_from([1, 2, 3, 5, 10_000]))
    cuts = draw(st.booleans())
    return list(_batches(draw, history, most, cuts=cuts))


def uncut(history: History) -> list[Batch]:
    """The history in one batch."""
    builder = BatchBuilder(1, ZERO)
    for group in history.groups:
        for record in group.records:
            builder.add(record.op, record.layout, record.values)
        builder.end_group()
    return [builder.build()] if history.groups else []


def _batches(draw: Draw, history: History, most: int, *, cuts: bool) -> Iterator[Batch]:
    seq, digest = 0, ZERO
    builder = BatchBuilder(1, ZERO)
    room = draw(st.integers(1, most))
    for number, group in enumerate(history.groups):
        for place, record in enumerate(group.records, 1):
            builder.add(record.op, record.layout, record.values)
            ends = place == len(group.records)
            cut = cuts and not (ends or group.whole) and draw(st.integers(0, 3)) == 0
            if ends:
                builder.end_group()
            last = ends and number + 1 == len(history.groups)
            if cut or last or builder.count >= room:
                batch = builder.build(open=not (ends or cut), cut=cut)
                yield batch
                seq, digest = batch.last_seq, batch.digest_after
                builder = BatchBuilder(seq + 1, digest)
                room = draw(st.integers(1, most))


def shown(history: History) -> list[list[tuple[Any, ...]]]:
    """The history for people who read why a test failed."""
    return [
        [(record.op, record.layout.label, *record.values) for record in group.records]
        for group in history.groups
    ]
