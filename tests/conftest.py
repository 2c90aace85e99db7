"""Fixtures: `site`, `central` and `pair` give empty databases; without them nothing is started."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import django
import pytest

from tests.databases import Databases, Pair

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

SITES = ("site_sqlite", "site_pg", "site_maria")
CENTRALS = ("central_sqlite", "central_pg", "central_maria")
PAIRS = {
    "sqlite-sqlite": Pair("site_sqlite", "central_sqlite"),
    "pg-pg": Pair("site_pg", "central_pg"),
    "sqlite-pg": Pair("site_sqlite", "central_pg"),
    "pg-sqlite": Pair("site_pg", "central_sqlite"),
    "maria-sqlite": Pair("site_maria", "central_sqlite"),
    "maria-maria": Pair("site_maria", "central_maria"),
    "sqlite-maria": Pair("site_sqlite", "central_maria"),
}


def on_centrals(*aliases: str) -> pytest.MarkDecorator:
    """For a test that wants `central` on these alone."""
    short = [alias.removeprefix("central_") for alias in aliases]
    return pytest.mark.parametrize("central", aliases, ids=short, indirect=True)


# Of links, turns and signals: one database with one writer at a time, and one with many.
on_two_centrals = on_centrals("central_sqlite", "central_pg")


def pytest_configure(config: pytest.Config) -> None:
    """Let SIGTERM end a run as Ctrl-C does, so that fixtures are torn down."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The session's servers and files: `databases.clean(alias, ...)` makes databases ready."""
    session = Databases()
    yield session
    session.close()


@pytest.fixture(params=SITES, ids=lambda alias: alias.removeprefix("site_"))
def site(request: pytest.FixtureRequest, databases: Databases) -> str:
    """The alias of a site's database, once for each database that can be one."""
    databases.clean(request.param)
    alias: str = request.param
    return alias


@pytest.fixture(params=CENTRALS, ids=lambda alias: alias.removeprefix("central_"))
def central(request: pytest.FixtureRequest, databases: Databases) -> str:
    """The alias of central's database, once for each database that can be one."""
    databases.clean(request.param)
    alias: str = request.param
    return alias


@pytest.fixture(params=list(PAIRS.values()), ids=list(PAIRS))
def pair(request: pytest.FixtureRequest, databases: Databases) -> Pair:
    """A site's database and central's, in every mixture that has to work."""
    wanted: Pair = request.param
    databases.clean(wanted.site, wanted.central)
    return wanted
