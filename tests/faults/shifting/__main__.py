"""`make migrations`: random migrations beside two writers, and no write is lost.

Each round runs some migrations while two other programs write to whatever tables there are; then
what was captured, and the snapshots that are due, must give the rows that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import django

from tests.faults.shifting.schema import Application

ROOT = Path(__file__).parents[3]
DATABASES = {"sqlite": "site_sqlite", "postgresql": "site_pg", "maria": "site_maria"}
IN_A_ROUND = 4
# Between the application's own transactions: it meets them without us, too.
ITS_OWN = ("deadlock", "Deadlock", "database is locked", "Lock wait timeout")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run on each database that is asked for; 0 if nothing was found."""
    options = _options(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.databases import Databases

    found = 0
    with closing(Databases()) as databases:
        for name in [options.database] if options.database else DATABASES:
            with tempfile.TemporaryDirectory(prefix="sockstream-") as folder:
                seed = options.seed if options.seed is not None else random.randrange(2**32)
                print(f"{name} SEED={seed}", flush=True)
                where = _database(DATABASES[name], databases, Path(folder))
                # What failed half-way cannot be run again where DDL is in no transaction.
                most = 1 if name == "maria" else 3
                run = Run(Path(folder), where, random.Random(seed), most)
                until = time.monotonic() + 60 * options.minutes
                try:
                    while time.monotonic() < until:
                        run.round()
                except AssertionError as error:
                    print(f"{name}: FOUND: {error}", file=sys.stderr, flush=True)
                    found += 1
                print(f"{name}: {dict(run.counts)}", flush=True)
    return int(found > 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("migrations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="on each database")
    parser.add_argument("--database", choices=DATABASES, help="on this one alone")
    parser.add_argument("--seed", type=int, help="repeats the migrations of a run")
    return parser.parse_args(arguments)


def _database(alias: str, databases: Any, folder: Path) -> dict[str, Any]:
    """The settings of an empty database beside the tests' own."""
    from django.db import connections

    databases.clean(alias)
    connection = connections[alias]
    wanted = {"ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS"}
    settings = {key: value for key, value in connection.settings_dict.items() if key in wanted}
    if connection.vendor == "sqlite":
        return settings | {"NAME": str(folder / "shift.sqlite3")}
    name = f"shift_{os.getpid()}"
    if connection.vendor == "postgresql":
        databases.new_postgresql(name)
    else:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
    return settings | {"NAME": name}


class Run:
    """The site, its application, and the programs beside it."""

    def __init__(
        self, folder: Path, database: dict[str, Any], draw: random.Random, most: int
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._draw = draw
        self._state = folder / "state"
        self._env = {
            **os.environ,
            "SHIFT_FOLDER": str(folder),
            "SHIFT_DATABASE": json.dumps(database),
            "DJANGO_SETTINGS_MODULE": "tests.faults.shifting.settings",
            "PYTHONPATH": str(ROOT),
        }
        self._application = Application(folder, draw, most)
        self._migrate("the beginning")
        self._check()

    def round(self) -> None:
        """Raises AssertionError for a write that is lost, or a migration that failed."""
        with self._writers():
            for _ in range(IN_A_ROUND):
                self._migrate(self._application.change())
        self._check()

    def _migrate(self, change: str) -> None:
        for _ in range(5):
            done = self._python("django", "migrate", "--verbosity", "0")
            if done.returncode == 0 or not any(words in done.stderr for words in ITS_OWN):
                break
            self.counts["migrations tried again"] += 1
        assert done.returncode == 0, f"{change}\n{done.stderr[-3000:]}"
        self.counts["migrations"] += 1

    def _check(self) -> None:
        done = self._python("tests.faults.shifting.check", str(self._state))
        assert done.returncode == 0, done.stderr[-3000:]
        self.counts["rounds"] += 1

    def _python(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *words]
        return subprocess.run(
            command, env=self._env, capture_output=True, text=True, check=False, timeout=300
        )

    @contextmanager
    def _writers(self) -> Iterator[None]:
        command = [sys.executable, "-m", "tests.faults.shifting.writer"]
        writers = [
            subprocess.Popen(
                [*command, str(self._draw.random())],
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        try:
            yield
        finally:
            said = [writer.communicate("", 60)[0] for writer in writers]
        for line in said:
            self.counts.update(json.loads(line))
        ours = [words for words in self.counts if words.startswith("because of us")]
        assert not ours, ours


if __name__ == "__main__":
    sys.exit(main())
