"""What the management commands of both ends share: options, start-up checks, signals, log lines."""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from django.db.migrations.executor import MigrationExecutor

from .conf import settings
from .exceptions import ConfigError, SockstreamError

UNFINISHED = (
    "A snapshot was begun and has not ended, and what was written since waits for it. "
    "Run manage.py oplog_snapshot again"
)

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class SockstreamCommand(BaseCommand):
    """A command whose SockstreamError becomes one line and exit code 1, here and nowhere else.

    Subclasses write `run` instead of `handle`. Django's system checks are not run: what a command
    needs it checks itself, and answers with one line.
    """

    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.run(options)
        except SockstreamError as error:
            raise CommandError(str(error)) from error

    def run(self, options: dict[str, Any]) -> None:
        """Do the work. May raise SockstreamError."""
        raise NotImplementedError


def add_tls_options(parser: CommandParser) -> None:
    """Add --ca, --cert and --key, which win over the settings of the same names."""
    for name, what in (
        ("ca", "the authority's certificate"),
        ("cert", "this end's certificate"),
        ("key", "this end's private key"),
    ):
        parser.add_argument(
            f"--{name}", metavar="FILE", help=f'{what} (default: SOCKSTREAM["{name.upper()}"])'
        )


def add_database_option(parser: CommandParser) -> None:
    """Add --database ALIAS."""
    parser.add_argument(
        "--database",
        metavar="ALIAS",
        default=DEFAULT_DB_ALIAS,
        help=f"the database, by its alias in DATABASES (default: {DEFAULT_DB_ALIAS})",
    )


def confirm(question: str, option: str) -> None:
    """Ask on the terminal. Raises ConfigError if the answer is not yes, or there is nobody to ask.

    `option` is the one that saves the question.
    """
    if not sys.stdin.isatty():
        raise ConfigError("There is no terminal to ask on", f"Say {option}. Nothing was changed")
    if input(f"{question} [yes/no] ").strip().lower() not in ("y", "yes"):
        raise ConfigError("Not confirmed: nothing was changed")


def database(options: Mapping[str, Any]) -> str:
    """The alias that --database names. Raises ConfigError if DATABASES has none of that name."""
    alias = str(options["database"])
    if alias not in connections:
        known = ", ".join(sorted(connections))
        raise ConfigError(f"--database {alias}: no such database", f"Use one of: {known}")
    return alias


@dataclass(frozen=True)
class Paths:
    """Where the certificates are. `crl` is "" if there is no list of revoked certificates."""

    ca: str
    cert: str
    key: str
    crl: str


def paths(options: Mapping[str, Any]) -> Paths:
    """The certificate files, from --ca, --cert, --key, else from SOCKSTREAM.

    The CRL is SOCKSTREAM["CRL"], else crl.pem beside the CA if that exists.
    Raises ConfigError if one is given in neither place; that the files are right, tls.py checks.
    """
    given = settings()
    chosen = {name: _path(name, options, given) for name in ("ca", "cert", "key")}
    beside = Path(chosen["ca"]).parent / "crl.pem"
    crl = given.CRL or (str(beside) if beside.exists() else "")
    return Paths(**chosen, crl=crl)


def _path(name: str, options: Mapping[str, Any], given: Any) -> str:
    path = str(options.get(name) or getattr(given, name.upper()))
    if not path:
        raise ConfigError(
            f'Neither --{name} nor SOCKSTREAM["{name.upper()}"] is given',
            "Name the file; `sockstream certs` makes one if you have none",
        )
    return path


def host_and_port(text: str, option: str) -> tuple[str, int]:
    """Split "HOST:PORT", "[IPv6]:PORT" or ":PORT" (an empty host). `option` is for the error.

    Raises ConfigError.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65_535:
        raise ConfigError(
            f"{option} {text}: not an address",
            "Write HOST:PORT, such as localhost:9000 or [::1]:9000",
        )
    return found["v6"] or found["host"] or "", int(found["port"])


def require_migrations(using: str, labels: Collection[str] = ()) -> None:
    """Check that the migrations of the apps `labels` (all, if none is named) are applied.

    Raises SockstreamError: "database-unreachable", or "migrations" with the command to run.
    """
    connection = connections[using]
    try:
        executor = MigrationExecutor(connection)
        leaves = executor.loader.graph.leaf_nodes()
        targets = [node for node in leaves if not labels or node[0] in labels]
        missing = sorted({migration.app_label for migration, _ in executor.migration_plan(targets)})
    except DatabaseError as error:
        raise unreachable(using, error) from error
    if missing:
        flag = "" if using == DEFAULT_DB_ALIAS else f" --database {using}"
        raise SockstreamError(
            "migrations",
            f"Database {using!r} lacks migrations of {', '.join(missing)}",
            f"Run manage.py migrate{flag}",
        )


def unreachable(using: str, error: Exception) -> SockstreamError:
    """The one line for a database that does not answer."""
    # Drivers add lines of hints, and one more for each address that they tried.
    words = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return SockstreamError(
        "database-unreachable",
        f"Database {using!r} cannot be used: {words}",
        "Check DATABASES, and that its server runs",
    )


class Stop:
    """Says that the process was asked to stop. Wait for `fileno()` to become readable, or ask."""

    def __init__(self) -> None:
        self.reason = ""
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    @property
    def requested(self) -> bool:
        return bool(self.reason)

    def fileno(self) -> int:
        """Readable, and it stays so, once a stop was requested."""
        return self._read

    def request(self, reason: str) -> None:
        """Ask to stop; from any thread or signal handler."""
        if not self.reason:
            self.reason = reason
            os.write(self._write, b"x")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the request. Returns whether it has come."""
        return bool(select.select([self._read], [], [], timeout)[0])

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """The first SIGTERM or SIGINT requests a stop; the second one ends the process at once.

    Outside the main thread, where Python takes no signals, `Stop.request` is the only way.
    """
    stop = Stop()
    signalled = False
    in_main = threading.current_thread() is threading.main_thread()
    wanted = (signal.SIGTERM, signal.SIGINT) if in_main else ()

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal signalled
        if signalled:
            os._exit(128 + number)
        signalled = True
        stop.request(signal.Signals(number).name)

    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


class _Lines(logging.StreamHandler[TextIO]):
    """The handler that `start_logging` adds, told apart from those of LOGGING by its type."""


def start_logging(verbosity: int, stream: TextIO | None = None) -> None:
    """Write the lines of the logger `sockstream` to `stream` (default: stderr).

    A project that gives this logger handlers of its own in LOGGING keeps those alone.
    """
    logger = logging.getLogger("sockstream")
    logger.setLevel(_LEVELS[min(verbosity, 2)])
    for ours in [known for known in logger.handlers if isinstance(known, _Lines)]:
        logger.removeHandler(ours)
    if logger.handlers:
        return
    handler = _Lines(stream or sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
