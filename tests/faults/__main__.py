"""`make faults`: the faults harness for some minutes on SQLite, then on PostgreSQL.

A long run is made of chapters, each with empty databases and a seed of its own, one more than that
of the chapter before. Exits 1 if anything was not as it has to be, with the seed that shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from tests.databases import Databases
    from tests.ends import Certificates
    from tests.faults.chapter import Result
    from tests.faults.machine import Machine

CHAPTER = 120.0
"""The longest chapter in seconds: what is compared at its end has to fit into memory."""

PAIRS = {
    "sqlite": ("site_sqlite", "central_sqlite"),
    "postgresql": ("site_pg", "central_pg"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the counts, and give 0 if nothing was found."""
    options = _options(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results: list[Result] = []
    try:
        _run_all(options, results)
    except AssertionError as error:
        words = [str(error), *getattr(error, "__notes__", [])]
        print("\nFOUND:", *words, sep="\n", file=sys.stderr)
        return 1
    finally:
        _report(results)
        if options.json:
            kept = [asdict(result) for result in results]
            Path(options.json).write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="on each database (default: 2)")
    parser.add_argument("--seed", type=int, help="repeats a run as far as a machine can")
    parser.add_argument("--database", choices=PAIRS, help="on this one alone")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--json", metavar="FILE", help="keep the counts of each chapter there")
    return parser.parse_args(arguments)


def _run_all(options: argparse.Namespace, results: list[Result]) -> None:
    from tests.databases import Databases
    from tests.ends import Certificates
    from tests.faults.machine import of_central

    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"SEED={seed} MINUTES={options.minutes:g}", flush=True)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sockstream-"))
        certificates = Certificates.make(Path(folder))
        databases = stack.enter_context(closing(Databases()))
        for name in [options.database] if options.database else PAIRS:
            machine = stack.enter_context(of_central(name, databases))
            run = Run(databases, certificates, machine, options.only, results)
            _run_on(name, seed, options.minutes * 60, run)


@dataclass
class Run:
    """What the chapters on one database have in common."""

    databases: Databases
    certificates: Certificates
    machine: Machine
    only: str
    results: list[Result]


def _run_on(name: str, seed: int, seconds: float, run: Run) -> None:
    from tests.databases import Pair
    from tests.faults import chapter
    from tests.faults.nemesis import left_out

    for fault, reason in left_out(name, run.machine).items():
        print(f"{name}: without {fault!r}: {reason}")
    pair = Pair(*PAIRS[name])
    while seconds > 0:
        run.databases.clean(pair.site, pair.central)
        length = min(seconds, CHAPTER)
        result = chapter.run(pair, run.certificates, seed, length, run.machine, run.only)
        run.results.append(result)
        print(
            f"{name} seed {seed}: {result.transactions:,} transactions, "
            f"{result.records:,} records, {sum(result.faults.values())} faults",
            flush=True,
        )
        seconds -= CHAPTER
        seed += 1


def _report(results: list[Result]) -> None:
    """A line a fault, a column a database."""
    columns = {name: [one for one in results if one.vendor == name] for name in PAIRS}
    faults = {name: _sum(found) for name, found in columns.items()}
    print(f"\n{'fault':<40}", *(f"{name:>12}" for name in PAIRS))
    for fault in sorted(set().union(*faults.values())):
        print(f"{fault:<40}", *(f"{counts[fault]:>12,}" for counts in faults.values()))
    for what in ("transactions", "records", "applied", "looks"):
        sums = [sum(getattr(one, what) for one in found) for found in columns.values()]
        print(f"{what.upper():<40}", *(f"{total:>12,}" for total in sums))
    print(f"{'FAULTS':<40}", *(f"{counts.total():>12,}" for counts in faults.values()))
    slowest = [
        max((one.slowest_recovery for one in found), default=0) for found in columns.values()
    ]
    print(f"{'SLOWEST RECOVERY, SECONDS':<40}", *(f"{took:>12}" for took in slowest), flush=True)


def _sum(results: list[Result]) -> Counter[str]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.faults)
    return total


if __name__ == "__main__":
    sys.exit(main())
