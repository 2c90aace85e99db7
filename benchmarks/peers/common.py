"""What the programs share: options, Django with two databases, the comparison, the JSON line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from tests.servers import HOST, PostgreSQL

# Rounds that are there before: a measurement on empty tables flatters.
FILL = 20
# A commit is on the disk.
FULL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"


def parser(
    doc: str | None, centrals: Sequence[str] = ("sqlite", "postgresql")
) -> argparse.ArgumentParser:
    """With the options that every program has: `records` and `central`."""
    made = argparse.ArgumentParser(description=str(doc).partition("\n")[0])
    made.add_argument("--records", type=int, default=20_000)
    made.add_argument("--central", choices=centrals, default=centrals[0])
    return made


def arguments(doc: str | None, centrals: Sequence[str] = ("sqlite", "postgresql")) -> Any:
    """The options of a program that has no others."""
    return parser(doc, centrals).parse_args()


def sqlite(folder: Path, name: str) -> dict[str, Any]:
    """An entry of DATABASES: a file that keeps what it commits."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / f"{name}.sqlite3"),
        "OPTIONS": {"init_command": FULL, "transaction_mode": "IMMEDIATE", "timeout": 20},
    }


def postgresql(server: PostgreSQL, name: str = "postgres") -> dict[str, Any]:
    """An entry of DATABASES: a database of a server that was started."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": "postgres",
        "HOST": HOST,
        "PORT": server.port,
    }


def set_up(databases: dict[str, Any], apps: Iterable[str] = (), **more: Any) -> None:
    """Configure Django with `polls` and these apps, and migrate every database."""
    settings.configure(
        DATABASES={"default": {}, **databases},
        INSTALLED_APPS=["polls", *apps],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        **more,
    )
    django.setup()
    from django.core.management import call_command

    for alias in databases:
        call_command("migrate", database=alias, verbosity=0)


def equal(site: str, central: str) -> None:
    """Raises AssertionError with a few of the differences between both ends."""
    from demo.compare import compare
    from polls.models import Choice, Question

    found = compare([Question, Choice], site, central)
    assert not found, [str(difference) for difference in found[:3]]


def report(peer: str, records: int, central: str, seconds: float, **more: Any) -> None:
    """Print the line. `packages`: names of distributions whose versions it tells."""
    packages = ("Django", *more.pop("packages", ()))
    line = {
        "peer": peer,
        "versions": {name: version(name) for name in packages} | more.pop("versions", {}),
        "records": records,
        "central": central,
        "drain_seconds": round(seconds, 4),
        "rate": round(records / seconds, 1),
    }
    print(json.dumps(line | more), flush=True)


def missing(peer: str, words: str) -> None:
    """Print the line of a peer that cannot be had here."""
    print(json.dumps({"peer": peer, "missing": words}), flush=True)


def ends(stack: ExitStack, folder: Path, central: str) -> dict[str, Any]:
    """DATABASES of a site on SQLite and of central on what `central` says, its server started."""
    if central == "sqlite":
        return {"site": sqlite(folder, "site"), "central": sqlite(folder, "central")}
    server = stack.enter_context(PostgreSQL(fsync=True))
    return {"site": sqlite(folder, "site"), "central": postgresql(server)}
