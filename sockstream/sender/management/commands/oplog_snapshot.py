"""manage.py oplog_snapshot [MODEL ...]: let the rows that are there enter the oplog."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import Error as DatabaseError

from sockstream import commands
from sockstream.conf import settings
from sockstream.databases import readiness
from sockstream.exceptions import ConfigError, SockstreamError
from sockstream.sender.oplog.snapshot import Snapshot
from sockstream.sender.preflight import require_ready


class Command(commands.SockstreamCommand):
    """Send all rows as they are, and let central remove what this site no longer has."""

    help = "Send all rows of this site as they are; central removes what the site no longer has."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "models", nargs="*", metavar="MODEL", help="such as shop.order (default: all captured)"
        )
        parser.add_argument(
            "--new-epoch",
            action="store_true",
            help="begin the stream anew: after a backup was restored, or with a copied database",
        )
        commands.add_database_option(parser)

    def run(self, options: dict[str, Any]) -> None:
        using, own = commands.database(options), settings()
        labels, new_epoch = options["models"], options["new_epoch"]
        if new_epoch and labels:
            raise ConfigError("--new-epoch is for all models", "Leave the models' names away")
        require_ready(using, own)
        snapshot = Snapshot(using, own, labels, self.stdout.write)
        try:
            count = snapshot.take(new_epoch=new_epoch)
        except DatabaseError as error:
            if not readiness.is_unreachable(error):
                raise
            told = readiness.unreachable(using, error)
            again = ", then run this again: writes wait for its end" if snapshot.begun else ""
            raise SockstreamError(told.code, told.words, told.mend + again) from error
        self.stdout.write(
            f"The snapshot has {count:,} rows. Central has it once oplog_send sent it."
        )
