"""manage.py oplog_send --to HOST:PORT: send this site's oplog to central."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser
from rich.console import Console

from sockstream import management, tls
from sockstream.conf import settings
from sockstream.exceptions import ConfigError
from sockstream.sender.link import Link
from sockstream.sender.preflight import require_ready
from sockstream.sender.report import LiveReport, Report
from sockstream.sender.road import Road
from sockstream.sender.service import Service


class Command(management.SockstreamCommand):
    """Send what is captured at this site to central, in order, and keep on doing so."""

    help = "Send this site's committed writes to central, over mutual TLS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, metavar="HOST:PORT", help="central's address")
        parser.add_argument("--once", action="store_true", help="send what is there, then exit")
        management.add_database_option(parser)
        management.add_tls_options(parser)

    def run(self, options: dict[str, Any]) -> None:
        with management.stop_signals() as stop:
            self._send(options, stop)

    def _send(self, options: dict[str, Any], stop: management.Stop) -> None:
        using, own = management.database(options), settings()
        host, port = management.host_and_port(options["to"], "--to")
        if not host or not port:
            raise ConfigError(f"--to {options['to']}: no host or no port", "Write HOST:PORT")
        require_ready(using, own)
        files = management.paths(options)
        tls.client_context(files.ca, files.cert, files.key)

        def make_road() -> Road:
            # Read anew, so that a renewed certificate is used from the next connection on.
            context = tls.client_context(files.ca, files.cert, files.key)
            return Road(using, Link(host, port, context, silence=3 * own.HEARTBEAT), own)

        report = LiveReport(Console(stderr=True)) if sys.stderr.isatty() else Report()
        with report:
            management.start_logging(options["verbosity"])
            Service(using, own, make_road, report, stop, once=options["once"]).run()
