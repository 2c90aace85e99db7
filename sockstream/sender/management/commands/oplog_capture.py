"""manage.py oplog_capture install|remove|status: what captures in this site's database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sockstream import commands
from sockstream.databases import readiness
from sockstream.exceptions import SockstreamError
from sockstream.sender import capture


class Command(commands.SockstreamCommand):
    """Install, remove or compare what captures. `migrate` installs it, too."""

    help = "Install, remove or check what captures this site's writes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("install", "remove", "status"))
        commands.add_database_option(parser)

    def run(self, options: dict[str, Any]) -> None:
        using = commands.database(options)
        readiness.require_migrations(using, ["sockstream_sender"])
        {"install": self.install, "remove": self.remove, "status": self.status}[options["action"]](
            using
        )

    def install(self, using: str) -> None:
        """Make capture right, and say what was not."""
        before = capture.drift(using)
        missed = capture.install(using)
        self.stdout.write(f"Capture is installed in database {using!r} ({len(before)} changes).")
        for line in missed:
            self.stdout.write(line)

    def remove(self, using: str) -> None:
        """Remove what captures. Writes from now on are not captured."""
        capture.remove(using)
        self.stdout.write(
            f"Capture is removed from database {using!r}: writes from now on are not captured."
        )

    def status(self, using: str) -> None:
        """Say whether capture is right. Raises SockstreamError if it is not."""
        found = capture.drift(using)
        for line in found:
            self.stdout.write(line)
        if found:
            raise SockstreamError(
                "capture-drift",
                f"Capture in database {using!r} is not as it has to be",
                f"Run manage.py oplog_capture install --database {using}; "
                "a snapshot of what was missed follows by itself",
            )
        self.stdout.write(f"Capture in database {using!r} is as it has to be.")
