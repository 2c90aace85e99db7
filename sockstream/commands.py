"""What the management commands of both ends share: the base class, options, questions."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections

from .databases import queries
from .exceptions import ConfigError, SockstreamError
from .process import open_missing_outputs

_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")


class SockstreamCommand(BaseCommand):
    """A command whose SockstreamError becomes one line and exit code 1, here and nowhere else.

    Subclasses write `run` instead of `handle`. Django's system checks are not run: what a command
    needs it checks itself, and answers with one line.
    """

    requires_system_checks = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        open_missing_outputs()
        super().__init__(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with queries.not_kept():
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
