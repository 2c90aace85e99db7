"""manage.py oplog_adopt SOURCE [STREAM]: accept the new history of a site whose database is new."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser
from django.db import Error as DatabaseError

from sockstream import commands
from sockstream.databases import readiness
from sockstream.receiver.streams import offsets


class Command(commands.SockstreamCommand):
    """Let a site's stream begin anew at record 1. The rows that it brought before stay."""

    help = "Accept the new history of a site whose database was made anew (epoch-unknown)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="the site, as its certificate names it")
        parser.add_argument(
            "stream", nargs="?", default="default", help="the site's database alias (default)"
        )
        commands.add_database_option(parser)

    def run(self, options: dict[str, Any]) -> None:
        using = commands.database(options)
        readiness.require_migrations(using, ["sockstream_receiver"])
        source, stream = options["source"], options["stream"]
        try:
            before = offsets.adopt(source, stream, using=using)
        except DatabaseError as error:
            if not readiness.is_unreachable(error):
                raise
            raise readiness.unreachable(using, error) from error
        self.stdout.write(
            f"{source}/{stream} stood at {before}; its next hello begins it anew. Rows of before "
            "that the site no longer has go with its next oplog_snapshot."
        )
