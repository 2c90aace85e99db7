"""Django settings of the tests, for pytest's own process and for the commands that tests start.

The servers' ports and the folder of the SQLite files come from the environment, where
`tests.databases` puts them before anybody connects, so that a child process finds the same
databases. SOCKSTREAM_TEST_DEFAULT names the alias that `default` stands for in a child process
(`site_pg`, say, for `python -m django oplog_send --settings tests.settings`). Without it,
`default` is an empty database: code that forgets `using` fails instead of working by chance.
SOCKSTREAM_TEST_CENTRAL_PORT is where central's PostgreSQL is if not on the server of the site's.
SOCKSTREAM_TEST_SETTINGS holds more keys of SOCKSTREAM for a child process, as JSON, and
SOCKSTREAM_TEST_PRAGMAS what it tells SQLite first. SOCKSTREAM_TEST_MYSQL names the driver of
MariaDB: `pymysql`, or `mysqlclient` where that is installed. With SOCKSTREAM_TEST_PSYCOPG2, a
child process has psycopg 2 only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.servers import HOST, find_mariadb

if os.environ.get("SOCKSTREAM_TEST_PSYCOPG2"):
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # as if it was not installed

SECRET_KEY = "not secret: the tests' own"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

FOLDER = os.environ.get("SOCKSTREAM_TEST_FOLDER", "")
PORTS = {
    "postgresql": os.environ.get("SOCKSTREAM_TEST_POSTGRESQL", ""),
    "mysql": os.environ.get("SOCKSTREAM_TEST_MARIADB", ""),
}
CENTRAL_PORT = os.environ.get("SOCKSTREAM_TEST_CENTRAL_PORT", "")
DEFAULT_HOME = os.environ.get("SOCKSTREAM_TEST_DEFAULT", "")
WAL = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
PRAGMAS = os.environ.get("SOCKSTREAM_TEST_PRAGMAS", WAL)


def _sqlite(name: str, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(Path(FOLDER, f"{name}.sqlite3")) if FOLDER else ":memory:",
        "OPTIONS": {"init_command": PRAGMAS, "timeout": 20, **options},
    }


def _server(vendor: str, name: str, user: str, **options: Any) -> dict[str, Any]:
    return {
        "ENGINE": f"django.db.backends.{vendor}",
        "NAME": name,
        "HOST": HOST,
        "PORT": PORTS[vendor],
        "USER": user,
        "OPTIONS": options,
    }


DATABASES: dict[str, dict[str, Any]] = {
    "default": _sqlite("default"),
    # As docs ask for: a transaction that reads before it writes could else be refused by SQLite at
    # once, without waiting, when somebody else (oplog_send, say) has committed in between.
    "site_sqlite": _sqlite("site_sqlite", transaction_mode="IMMEDIATE"),
    "central_sqlite": _sqlite("central_sqlite", transaction_mode="IMMEDIATE"),
    "site_pg": _server("postgresql", "site_pg", "postgres"),
    "central_pg": _server("postgresql", "central_pg", "postgres"),
}

if find_mariadb():
    # Django supports mysqlclient, which needs a compiler and the server's headers to install.
    # PyMySQL stands in under its name, even where both are: every machine runs the same tests.
    if os.environ.get("SOCKSTREAM_TEST_MYSQL", "pymysql") == "pymysql":
        import pymysql

        pymysql.install_as_MySQLdb()
    for name in ("site_maria", "central_maria"):
        DATABASES[name] = _server("mysql", name, "root", charset="utf8mb4")

if CENTRAL_PORT:
    DATABASES["central_pg"]["PORT"] = CENTRAL_PORT

if DEFAULT_HOME:
    DATABASES["default"] = dict(DATABASES[DEFAULT_HOME])

DATABASE_ROUTERS = ["tests.routers.Homes"]

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.postgres",
    "polls",
    "tests.zoo",
    "tests.zoo_pg",
    "tests.zoo_raw",
    "tests.heirs",
    "tests.rivals",
    "tests.ledger",
    "tests.typed",
    "sockstream.sender",
]
if importlib.util.find_spec("sockstream.receiver.checks"):
    INSTALLED_APPS.append("sockstream.receiver")

# Tables made from the models as they are: no migrations of the test models to keep, and quicker.
# Such tables are made first, and may point to none that a migration makes.
MIGRATION_MODULES: dict[str, str | None] = {
    "auth": None,
    "contenttypes": None,
    "zoo": None,
    "zoo_pg": None,
    "heirs": None,
    "rivals": None,
    "ledger": None,
    "typed": None,
}

SOCKSTREAM: dict[str, Any] = {"MODELS": ["polls", "zoo", "zoo_pg", "zoo_raw"]}
SOCKSTREAM |= json.loads(os.environ.get("SOCKSTREAM_TEST_SETTINGS", "{}"))
