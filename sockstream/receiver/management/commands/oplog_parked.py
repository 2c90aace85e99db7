"""manage.py oplog_parked list|show|retry|drop [ID ...]: records that central could not apply."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from rich.console import Console

from sockstream import commands
from sockstream.databases import readiness
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.receiver import parked, parked_tables
from sockstream.status import WIDE


class Command(commands.SockstreamCommand):
    """Show the parked records, try them again, or drop them."""

    help = "Show, retry or drop the records that central has parked."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("list", "show", "retry", "drop"))
        parser.add_argument("ids", type=int, nargs="*", metavar="ID", help="as list shows them")
        parser.add_argument("--all", action="store_true", help="with retry: every parked record")
        parser.add_argument("--json", action="store_true", help="with list: JSON, no table")
        parser.add_argument(
            "--with-dependents", action="store_true", help="with drop: also what waits behind them"
        )
        parser.add_argument("--yes", action="store_true", help="with drop: do not ask")
        commands.add_database_option(parser)

    def run(self, options: dict[str, Any]) -> None:
        using = commands.database(options)
        readiness.require_migrations(using, ["sockstream_receiver"])
        file: Any = self.stdout
        width = None if file.isatty() else WIDE
        self.console = Console(file=file, width=width, no_color=options["no_color"])
        actions = {"list": self.list, "show": self.show, "retry": self.retry, "drop": self.drop}
        actions[options["action"]](using, options)

    def list(self, using: str, options: dict[str, Any]) -> None:
        """Print them all, or those that are named."""
        rows = list(parked.listed(using, options["ids"] or None))
        if options["json"]:
            self.stdout.write(parked_tables.as_json(rows))
        else:
            parked_tables.show_list(rows, self.console)

    def show(self, using: str, options: dict[str, Any]) -> None:
        """Print each with its values."""
        for row in parked.listed(using, _named(options)):
            parked_tables.show_one(row, self.console)

    def retry(self, using: str, options: dict[str, Any]) -> None:
        """Raises SockstreamError if some stay parked."""
        outcome = parked.retry(using, None if options["all"] else _named(options))
        self.stdout.write(f"{outcome.applied} records are applied.")
        if outcome.old:
            self.stdout.write(f"{outcome.old} of an earlier epoch were left alone.")
        if outcome.parked:
            parked_tables.show_list(outcome.parked, self.console)
            words = f"{len(outcome.parked)} records stay parked"
            raise SockstreamError("still-parked", words, "Mend what they met, and try again")

    def drop(self, using: str, options: dict[str, Any]) -> None:
        """Delete them, once somebody has said yes."""
        ids = _named(options)
        rows = parked.with_dependents(using, ids)
        if not options["with_dependents"]:
            parked.require_dependents(rows, ids)
        if not options["yes"]:
            parked_tables.show_list(rows, self.console)
            commands.confirm(f"Drop these {len(rows)} records for good?", "--yes")
        count = parked.drop(using, {row.pk for row in rows})
        self.stdout.write(f"{count} records are dropped.")


def _named(options: dict[str, Any]) -> set[int]:
    ids = set(options["ids"])
    if not ids:
        raise ConfigError(
            f"oplog_parked {options['action']}: no record is named",
            "Name records by their IDs, as list shows them; with retry, --all will do",
        )
    return ids
