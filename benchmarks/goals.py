"""What was measured, beside what it should be: a line a goal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

BEFORE = "before_"
"""Begins the names of what was measured in another checkout."""
PAIRS = ("sqlite-sqlite", "pg-pg", "sqlite-pg")
NOT_YET = "not measured yet"
CENTRALS = {"sqlite": "sqlite", "pg": "postgresql"}
LIMITS = {"sqlite": "by hand: executemany", "postgresql": "by hand: COPY"}
SECOND_ROW = (
    "the second row itself, the first one's JSON: a trigger that does nothing but write it costs "
    "the same"
)
TWO_COMMITS = (
    "a record is numbered in a transaction of its own before it is sent; that one and central's "
    "are on the disk; logical replication reads the WAL, and what it applies is not waited for"
)
PYTHON = (
    "Python at both ends, woken from idling for each record: 1.1 ms from the commit to the socket, "
    "and 1 ms at central beside the wait for the disk"
)
ALL_AT_ONCE = (
    "it waits with those that begin at the same moment, for a first turn of each: a turn takes up "
    "to 2,000 records then"
)
OPENSSL = "OpenSSL's own objects of a connection, and Python's"
RANDOM_KEYS = "random keys touch a page each of every index, and there are ever more pages"
MANY_TABLES = (
    "the same records are more statements with fewer rows each, and what is compiled or found once "
    "for each model is done for each of them"
)


@dataclass(frozen=True)
class Line:
    """A goal. `held` is None where there is nothing to say so by, and `measured` says why.

    `hindered`: what stands in the way, where it is missed.
    """

    what: str
    wanted: str
    measured: str
    held: bool | None = None
    hindered: str = ""


class Found:
    """The results of one run: those of our own programs by name, and the lines of the peers."""

    def __init__(self, ours: Mapping[str, Any], peers: Sequence[Mapping[str, Any]]) -> None:
        self.ours = ours
        self.peers = peers

    def drain(self, pair: str, name: str = "drain") -> float | None:
        """Our records a second, end to end, by that program; None if that was not measured."""
        rate: float | None = self.ours.get(name, {}).get(pair, {}).get("rate")
        return rate

    def rate(self, peer: str, central: str) -> float | None:
        """A peer's records a second with the most records that it was given: the median."""
        runs = self._of(peer, central)
        most = max((each["records"] for each in runs), default=0)
        rates = [each["rate"] for each in runs if each["records"] == most]
        return median(rates) if rates else None

    def growth(self, peer: str, central: str) -> str:
        """How a peer's cost of a record grows with their number, in words."""
        rates = defaultdict(list)
        for each in self._of(peer, central):
            rates[each["records"]].append(each["rate"])
        if len(rates) < 2:
            return "not measured"
        few, many = min(rates), max(rates)
        times = median(rates[few]) / median(rates[many])
        return f"{times:.2f} x from {few:,} to {many:,} records"

    def latency(self, peer: str) -> Mapping[str, float] | None:
        """A peer's milliseconds from commit to visible."""
        return next((each["latency_ms"] for each in self._of(peer, "postgresql")), None)

    def why_not(self, peer: str) -> str:
        """Why a peer was not measured."""
        return next((each["missing"] for each in self.peers if peer in each["peer"]), NOT_YET)

    def _of(self, peer: str, central: str) -> list[Mapping[str, Any]]:
        return [
            each for each in self.peers if each["peer"] == peer and each.get("central") == central
        ]


def lines(found: Found) -> Iterator[Line]:
    """Every goal, in the order of the table."""
    yield from _drains(found)
    yield from _long_drains(found)
    yield from _latencies(found)
    for scene, ratios in found.ours.get("capture_cost", {}).items():
        for what, most in (("create", 1.15), ("update", 1.15), ("bulk", 1.3)):
            line = _at_most(f"capture, {scene}: {what}", ratios.get(what), most, "{:.2f} x")
            yield replace(line, hindered=SECOND_ROW)
    sizes = found.ours.get("wire_bytes", {})
    for what, most in (("compressed", 0.2), ("plain", 0.5)):
        share = sizes[what] / sizes["json"] if sizes else None
        yield _at_most(f"bytes a record, {what}, of the file way's JSON", share, most, "{:.3f}")
    idle = found.ours.get("idle_links", {}).get("kib")
    line = _at_most("memory of an idle link", idle, 60.0, "{:.0f} KiB")
    yield replace(line, hindered=OPENSSL)
    slowest = found.ours.get("fair_shares", {}).get("max")
    yield _at_most("slowest row beside a site that drains", slowest, 1.0, "{:.2f} s")
    for each in found.ours.get("many_sites", []):
        with_workers = f"with {each['workers']} worker(s)"
        what = f"slowest row beside {each['sites']} sites that write at once, {with_workers}"
        yield replace(_at_most(what, each["slowest"], 1.0, "{:.2f} s"), hindered=ALL_AT_ONCE)
    for kind, ends in (("records", "a backlog of {:,}"), ("models", "{:,} models")):
        for pair, costs in found.ours.get("levels", {}).get(kind, {}).items():
            clocks = {int(size): each["clock"] for size, each in costs.items()}
            to, dearest = ends.format(max(clocks)), max(clocks.values()) / min(clocks.values())
            what = f"cost of a record, {pair}, from {min(clocks):,} to {to}"
            line = _at_most(what, dearest, 1.3, "{:.2f} x")
            central = CENTRALS[pair.rpartition("-")[2]]
            by_hand = found.growth(LIMITS[central], central)
            keys = f"{RANDOM_KEYS}; by hand {by_hand}"
            yield replace(line, hindered=keys if kind == "records" else MANY_TABLES)


def _drains(found: Found) -> Iterator[Line]:
    for central, pair, times in (
        ("sqlite", "sqlite-sqlite", 60),
        ("postgresql", "sqlite-pg", 50),
    ):
        for peer, least in (
            ("file way", times),
            ("django-cqrs", 100),
            ("django-logpipe over Kafka", 100),
            (LIMITS[central], 0.5),
        ):
            yield _ratio(found, f"drain of {pair} to {peer}", pair, peer, central, least)
    peer = "PostgreSQL's logical replication"
    yield _ratio(found, f"drain of pg-pg to {peer}", "pg-pg", peer, "postgresql", 0.5)


def _long_drains(found: Found) -> Iterator[Line]:
    for pair in PAIRS:
        short, long = found.drain(pair), found.drain(pair, "long_drain")
        yield _times(f"drain of {pair}, long transactions to short ones", long, short, 0.5)
    for name, words in (("drain", "short"), ("long_drain", "long")):
        for pair in PAIRS:
            before, now = found.drain(pair, BEFORE + name), found.drain(pair, name)
            if before is not None:
                yield _times(f"drain of {pair}, {words} transactions to before", now, before, 0.9)


def _times(what: str, ours: float | None, theirs: float | None, least: float) -> Line:
    wanted = f"at least {least:g} x"
    if ours is None or theirs is None:
        return Line(what, wanted, NOT_YET)
    measured = f"{ours / theirs:.2f} x ({ours:,.0f} to {theirs:,.0f} a second)"
    return Line(what, wanted, measured, ours / theirs >= least)


def _ratio(found: Found, what: str, pair: str, peer: str, central: str, least: float) -> Line:
    ours, theirs = found.drain(pair), found.rate(peer, central)
    wanted = f"at least {least:g} x"
    if ours is None or theirs is None:
        return Line(what, wanted, NOT_YET if ours is None else found.why_not(peer))
    measured = f"{ours / theirs:.2f} x ({ours:,.0f} to {theirs:,.0f} a second)"
    limit = found.rate(LIMITS[central], central)
    hindered = f"the limit by hand is {limit / theirs:.2f} x" if limit else ""
    return Line(what, wanted, measured, ours / theirs >= least, hindered)


def _latencies(found: Found) -> Iterator[Line]:
    ours = found.ours.get("latency", {})
    theirs = found.latency("PostgreSQL's logical replication")
    for cut in ("p50", "p99"):
        here = ours.get("pg-pg", {}).get(cut)
        ratio = here / theirs[cut] if here and theirs else None
        what = f"latency of pg-pg to logical replication, {cut}"
        form = "{:.2f} x" + (f" ({here:.2f} ms)" if here else "")
        yield replace(_at_most(what, ratio, 2.0, form), hindered=TWO_COMMITS)
    here = ours.get("sqlite-sqlite", {}).get("p50")
    line = _at_most("latency of sqlite-sqlite, p50", here, 3.0, "{:.2f} ms")
    yield replace(line, hindered=PYTHON)


def _at_most(what: str, value: float | None, most: float, form: str) -> Line:
    wanted = "at most " + form.partition(" (")[0].format(most)
    if value is None:
        return Line(what, wanted, NOT_YET)
    return Line(what, wanted, form.format(value), value <= most)
