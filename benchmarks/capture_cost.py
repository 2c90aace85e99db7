"""What capture adds to a write: two tables of one shape, side by side, one of them captured.

    python -m benchmarks.capture_cost [--saves 3000] [--rows 20000]

Plain and captured writes take turns in one process, each in autocommit, on tables that have rows
already: on SQLite (WAL with synchronous NORMAL, and as it is by default), and on PostgreSQL with
and without fsync. Saves of one row, and `bulk_create` of a thousand, by the row. Exits 1 if a
median is above its goal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)

import django  # noqa: E402
from django.apps import AppConfig  # noqa: E402
from django.conf import settings  # noqa: E402

from tests.servers import HOST, PostgreSQL  # noqa: E402

GOALS = {"create": 1.15, "update": 1.15, "bulk": 1.3}
TURN = 20
BULK, BULKS = 1_000, 15
SCENES = {
    "SQLite, WAL": "wal",
    "SQLite, default": "default",
    "PostgreSQL, fsync off": "fast",
    "PostgreSQL, fsync on": "durable",
}


def databases(stack: ExitStack, wanted: list[str]) -> dict[str, Any]:
    """A database for each scene."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    wal = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
    found: dict[str, Any] = {}
    for alias in ("default", *wanted):
        if alias in {"wal", "default"}:
            options = {"init_command": wal} if alias == "wal" else {}
            found[alias] = {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / alias),
                "OPTIONS": options,
            }
        else:
            server = stack.enter_context(PostgreSQL(fsync=alias == "durable"))
            found[alias] = {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": "postgres",
                "USER": "postgres",
                "HOST": HOST,
                "PORT": server.port,
            }
    return found


def set_up(found: dict[str, Any]) -> None:
    """Configure Django with an app `bench` that is this program."""
    app = AppConfig.__new__(AppConfig)
    module = sys.modules[__name__]
    app.path = str(ROOT / "benchmarks")
    AppConfig.__init__(app, "bench", module)
    settings.configure(
        DATABASES=found,
        INSTALLED_APPS=[app, "sockstream.sender"],
        MIGRATION_MODULES={"bench": None},
        USE_TZ=True,
        SOCKSTREAM={"MODELS": ["bench.captured"]},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def define() -> tuple[Any, Any]:
    """The two models, of ten columns."""
    from django.db import models
    from django.utils import timezone

    def fields() -> dict[str, Any]:
        return {
            "id": models.UUIDField(primary_key=True, default=uuid.uuid4),
            "name": models.CharField(max_length=100),
            "email": models.EmailField(unique=True),
            "birthday": models.DateField(null=True),
            "balance": models.DecimalField(max_digits=12, decimal_places=2),
            "visits": models.IntegerField(default=0),
            "active": models.BooleanField(default=True),
            "notes": models.TextField(default=""),
            "extra": models.JSONField(default=dict),
            "created": models.DateTimeField(default=timezone.now, db_index=True),
        }

    def model(name: str) -> Any:
        meta = type("Meta", (), {"app_label": "bench"})
        return type(name, (models.Model,), {**fields(), "Meta": meta, "__module__": __name__})

    return model("Plain"), model("Captured")


def row(model: Any, number: int) -> Any:
    """An unsaved row of about 300 bytes."""
    return model(
        name=f"Somebody {number}",
        email=f"{uuid.uuid4()}@example.com",
        birthday="1990-02-03",
        balance="1234.50",
        visits=number,
        notes="Came in with a cough; was told to rest and to drink. " * 3,
        extra={"source": "walk-in", "tags": ["new", "adult"], "number": number},
    )


def prepare(alias: str, models: tuple[Any, Any], rows: int) -> None:
    """Tables with rows, one of them captured."""
    from django.core.management import call_command
    from django.db import connections

    from sockstream.sender import capture

    with connections[alias].schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    for model in models:
        model.objects.using(alias).bulk_create([row(model, n) for n in range(rows)], 500)
    call_command("migrate", database=alias, verbosity=0)
    capture.install(alias)
    connections[alias].close()


def measure(alias: str, models: tuple[Any, Any], saves: int) -> dict[str, tuple[float, float]]:
    """Seconds a row of each way to write: the medians of the plain and of the captured ones."""
    times: dict[str, tuple[list[float], list[float]]] = {what: ([], []) for what in GOALS}
    made: tuple[list[Any], list[Any]] = ([], [])
    for start in range(0, saves, TURN):
        for side in (0, 1) if start // TURN % 2 else (1, 0):
            for number in range(start, start + TURN):
                each = row(models[side], number)
                made[side].append(each)
                times["create"][side].append(timed(each, alias))
    for start in range(0, saves, TURN):
        for side in (0, 1) if start // TURN % 2 else (1, 0):
            for each in made[side][start : start + TURN]:
                each.visits += 1
                times["update"][side].append(timed(each, alias))
    for start in range(BULKS if saves > TURN else 1):
        for side in (0, 1) if start % 2 else (1, 0):
            rows = [row(models[side], number) for number in range(BULK)]
            before = time.perf_counter()
            models[side].objects.using(alias).bulk_create(rows)
            times["bulk"][side].append((time.perf_counter() - before) / BULK)
    return {what: (median(plain), median(taken)) for what, (plain, taken) in times.items()}


def timed(each: Any, alias: str) -> float:
    """Seconds that it takes to save the row."""
    before = time.perf_counter()
    each.save(using=alias)
    return time.perf_counter() - before


def main() -> int:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--saves", type=int, default=3_000)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--only", choices=list(SCENES.values()), action="append")
    parser.add_argument("--json", metavar="FILE", help="write the ratios there as well")
    options = parser.parse_args()
    wanted = options.only or list(SCENES.values())
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        set_up(databases(stack, [alias for alias in wanted if alias != "default"]))
        models = define()
        print(f"{'':24}{'':8}{'plain us':>10}{'captured us':>13}{'ratio':>8}")
        for scene, alias in SCENES.items():
            if alias not in wanted:
                continue
            prepare(alias, models, options.rows)
            measure(alias, models, TURN)  # warms the caches of statements and plans
            for what, (plain, taken) in measure(alias, models, options.saves).items():
                ratio = found.setdefault(scene, {})[what] = taken / plain
                print(f"{scene:24}{what:8}{plain * 1e6:10.1f}{taken * 1e6:13.1f}{ratio:8.2f}")
        from django.db import connections

        connections.close_all()
    if options.json:
        Path(options.json).write_text(json.dumps(found))
    return int(any(ratio > GOALS[what] for each in found.values() for what, ratio in each.items()))


if __name__ == "__main__":
    sys.exit(main())
