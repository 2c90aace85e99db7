"""Wagtail's site and its central on one kind of database, prepared and connected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.databases import Databases
from tests.ends import ROOT, Certificates, ReceiverProcess, SenderProcess
from tests.third_party.router import CENTRAL, SITE

SETTINGS = "tests.third_party.settings"
PREPARED_WITHIN = 200
# `make test-app` installs it; without it there is nothing to collect here.
collect_ignore = [] if find_spec("wagtail") else ["test_wagtail.py"]


class Receiver(ReceiverProcess):
    settings_module = SETTINGS

    @property
    def arguments(self) -> Sequence[str]:
        return [*super().arguments, "--database", self.alias]


class Sender(SenderProcess):
    settings_module = SETTINGS


@dataclass(frozen=True)
class Application:
    """A site with both of its ends at work."""

    environment: Mapping[str, str]
    databases: Mapping[str, Any]
    sender: Sender
    receiver: Receiver

    def run(self, *words: str, within: float) -> str:
        """Run a command of Django's at the site; what it printed. Raises AssertionError."""
        return run(self.environment, "-m", "django", *words, within=within)


def run(environment: Mapping[str, str], *words: str, within: float) -> str:
    done = subprocess.run(
        # Its warnings are Wagtail's own business.
        [sys.executable, "-W", "ignore", *words],
        cwd=ROOT,
        env={**os.environ, **environment, "DJANGO_SETTINGS_MODULE": SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def sqlite(name: str, folder: Path) -> dict[str, Any]:
    pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / f"{name}.sqlite3"),
        "OPTIONS": {"init_command": pragmas, "transaction_mode": "IMMEDIATE", "timeout": 20},
    }


def postgresql(name: str, databases: Databases) -> dict[str, Any]:
    import dj_database_url

    return dict(dj_database_url.parse(databases.new_postgresql(f"wagtail_{name}")))


@pytest.fixture(params=["sqlite", "postgresql"])
def application(
    request: pytest.FixtureRequest, databases: Databases, tmp_path: Path
) -> Iterator[Application]:
    """Wagtail at a site and at central, which has all of it already."""
    both = {
        alias: sqlite(alias, tmp_path)
        if request.param == "sqlite"
        else postgresql(alias, databases)
        for alias in (SITE, CENTRAL)
    }
    environment = {
        "SOCKSTREAM_APP_DATABASES": json.dumps(both),
        "SOCKSTREAM_APP_MEDIA": str(tmp_path / "media"),
        "PYTHONPATH": str(ROOT),
    }
    run(environment, "-m", "tests.third_party.prepare", within=PREPARED_WITHIN)
    certificates = Certificates.make(tmp_path / "certificates")
    with (
        Receiver(CENTRAL, certificates, environment=environment) as receiver,
        Sender(SITE, certificates, receiver.address, environment=environment) as sender,
    ):
        sender.wait_until_connected()
        yield Application(environment, both, sender, receiver)
        assert sender.stop() == 0, sender.log
        assert receiver.stop() == 0, receiver.log
        for end in (sender, receiver):
            assert "Traceback" not in end.log, end.log
            assert "ERROR" not in end.log, end.log
