"""`make bench`: every measurement and every peer, one after the other, and the goals beside them.

    python -m benchmarks [--short] [--runs 3] [--most 10000000] [--only NAME ...]
        [--before CHECKOUT] [--keep]

Each is a program of its own, so that none warms the others up; what it prints is shown. At the end
comes a table with a line a goal. `--keep` writes it into docs/benchmarks.md, with a picture. What
`--only` leaves out is taken from the last run in this folder, and the table says so. `--before`
runs the drains with another checkout's sockstream too, just before ours, for ratios of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.checkouts import overlay
from benchmarks.goals import BEFORE, Found, Line, lines
from benchmarks.plot import draw
from benchmarks.results import Results

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = PAGE.with_suffix(".svg")
KEPT = ROOT / ".bench" / "results"
DRAINED = 200_000
BACKLOGS = (10_000, 100_000, 1_000_000, 10_000_000)
OURS = {
    "capture_cost": ["--saves", "600"],
    "drain": ["--records", "20000", "--runs", "1", "--sample", "2000"],
    "long_drain": ["--records", "20000", "--runs", "1"],
    "latency": ["--seconds", "2"],
    "wire_bytes": ["--rounds", "5"],
    "idle_links": ["--links", "300", "--seconds", "15"],
    "fair_shares": ["--rounds", "30"],
    "many_sites": ["--sites", "20", "--records", "500"],
    "levels": ["--records", "1000", "10000", "--models", "1", "20"],
}
"""Our programs, and their options for a short run."""
DRAINS = ("drain", "long_drain")
"""Those that `--before` runs in another checkout as well."""
BOTH = ("sqlite", "postgresql")
PEERS = {
    "file_way": BOTH,
    "socket_handler": BOTH,
    "cqrs": BOTH,
    "logpipe": BOTH,
    "logical_replication": ("postgresql",),
    "by_hand": BOTH,
}
"""The peers, and where they can bring records to."""
SLOW, FAST = (10_000,), (20_000, DRAINED)
SIZES = {"logical_replication": FAST, "by_hand": FAST}
"""With how many records; those that write one by one would take hours with as many as we drain."""
SHORT = 2_000
HOW = (
    "One workload for all: questions and choices with UUID keys, 80 % inserts, 15 % updates, 5 %",
    "deletes, from a fixed seed, into tables that have rows before. Long transactions are a second",
    "one: 3,850 records each, of rows with 16 columns, with bulk updates, unique values that",
    "change places, and changed keys (`benchmarks/long/workload.py`). All runs on one machine,",
    "both ends, their databases and the peers; commits at central are on the disk. The programs in",
    "`benchmarks/` say at their top what each measures. Machines differ: compare the ratios.",
)


def ours(name: str, options: Sequence[str], folder: Path, root: Path = ROOT) -> Any:
    """The result of one of our programs, run in `root`; None if it failed, and has said why.

    Exit code 1 may also say that it misses a goal of its own.
    """
    path = folder / f"{name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(path)]
    subprocess.run(command, cwd=root, check=False)
    if not path.exists():
        print(f"{name} FAILED: its goals are not measured", flush=True)
        return None
    return json.loads(path.read_text())


def peer(name: str, central: str, options: Sequence[str]) -> list[Any]:
    """The lines of a peer; none if it failed, for which it has said why."""
    command = [sys.executable, "-m", f"benchmarks.peers.{name}", "--central", central, *options]
    done = subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        print(f"{name} FAILED: its goals are not measured", flush=True)
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def machine() -> str:
    """What it ran on, in a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("Django", "psycopg", "msgpack"))
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def show(found: Sequence[Line], older: str) -> None:
    """The table of goals; `older` says what was measured before."""
    table = Table(title="Goals")
    for title in ("goal", "wanted", "measured", ""):
        table.add_column(title)
    for line in found:
        table.add_row(line.what, line.wanted, line.measured, _verdict(line))
    console = Console(width=140)
    console.print(table)
    for line in missed(found):
        console.print(f"MISSED  {line.what}: {line.hindered or 'unexplained'}")
    if older:
        console.print(f"From before: {older}")


def page(judged: Sequence[Line], peers: Sequence[Any], older: str) -> str:
    """The same as a page of the documentation."""
    rows = [f"| {x.what} | {x.wanted} | {x.measured} | {_verdict(x)} |" for x in judged]
    runs = defaultdict(list)
    for each in peers:
        if "rate" in each:
            runs[each["peer"], each["central"], each["records"]].append(each)
    others = [
        f"| {name} | {central} | {records:,} | {median(each['rate'] for each in found):,.0f} "
        f"| {found[0].get('note', '')} |"
        for (name, central, records), found in runs.items()
    ]
    return "\n".join(
        [
            "# Benchmarks",
            "",
            f"Written by `python -m benchmarks {' '.join(sys.argv[1:])}` (`make bench`)",
            f"on {datetime.now(UTC):%Y-%m-%d}: {machine()}.",
            *([f"Measured before that: {older}."] if older else []),
            "",
            *HOW,
            "",
            "| goal | wanted | measured | |",
            "|---|---|---|---|",
            *rows,
            "",
            "What stands in the way of those that are missed:",
            "",
            *(f"- {line.what}: {line.hindered or 'unexplained'}." for line in missed(judged)),
            "",
            "| peer | into | records | records a second | what to know |",
            "|---|---|---|---|---|",
            *others,
            "",
            f"![The same as a picture]({PICTURE.name})",
            "",
        ]
    )


def missed(found: Sequence[Line]) -> list[Line]:
    """The goals that were not reached."""
    return [line for line in found if line.held is False]


def _verdict(line: Line) -> str:
    return {True: "held", False: "MISSED", None: ""}[line.held]


def main() -> int:
    """Run them; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--short", action="store_true", help="few records: to see that all works")
    parser.add_argument(
        "--runs", type=int, default=3, help="of each peer and drain, for the median"
    )
    parser.add_argument("--most", type=int, default=10_000_000, help="records of a backlog")
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS], help="these alone")
    parser.add_argument("--before", type=Path, help="a checkout whose drains are measured too")
    parser.add_argument("--keep", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    wanted = options.only or [*OURS, *PEERS]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        results = Results(folder / "results" if options.short else KEPT)
        for name in [name for name in PEERS if name in wanted]:
            print(f"\n{name}", flush=True)
            sizes = (SHORT,) if options.short else SIZES.get(name, SLOW) * options.runs
            found = [
                peer(name, central, ["--records", str(records)])
                for central in PEERS[name]
                for records in sizes
            ]
            results.put(name, [line for part in found for line in part])
        for name in [name for name in OURS if name in wanted]:
            print(f"\n{name}", flush=True)
            longer = {
                "drain": ["--runs", str(options.runs)],
                "long_drain": ["--runs", str(options.runs)],
                "levels": ["--records", *(str(size) for size in BACKLOGS if size <= options.most)],
            }.get(name, [])
            chosen = OURS[name] if options.short else longer
            if options.before and name in DRAINS:
                other = folder / f"before-{name}"
                other.mkdir()
                root = overlay(options.before, other)
                print(f"in {options.before}:", flush=True)
                results.put(BEFORE + name, ours(name, chosen, folder, root))
                print("here:", flush=True)
            results.put(name, ours(name, chosen, folder))
        measured = [*OURS, *(BEFORE + name for name in DRAINS if options.before)]
        own, older = results.get(measured), results.older([*PEERS, *measured])
        peers = [line for found in results.get(PEERS).values() for line in found]
    judged = list(lines(Found(own, peers)))
    show(judged, older)
    if options.keep:
        PAGE.write_text(page(judged, peers, older))
        draw(own, peers, PICTURE)
    return int(bool(missed(judged)))


if __name__ == "__main__":
    sys.exit(main())
