"""manage.py oplog_send --to HOST:PORT: send this site's oplog to central."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from django.core.management.base import CommandParser
from rich.console import Console

from sockstream import commands, process
from sockstream.conf import settings
from sockstream.exceptions import ConfigError
from sockstream.process import Hangup, hangups
from sockstream.sender.preflight import require_ready
from sockstream.sender.report import LiveReport, Report
from sockstream.sender.roads import Roads
from sockstream.sender.service import Service
from sockstream.tls import papers


class Command(commands.SockstreamCommand):
    """Send what is captured at this site to central, in order, and keep on doing so."""

    help = "Send this site's committed writes to central, over mutual TLS."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", required=True, metavar="HOST:PORT", help="central's address")
        parser.add_argument("--once", action="store_true", help="send what is there, then exit")
        commands.add_database_option(parser)
        commands.add_tls_options(parser)

    def run(self, options: dict[str, Any]) -> None:
        with process.stop_signals() as stop, hangups() as hangup:
            self._send(options, stop, hangup)

    def _send(self, options: dict[str, Any], stop: process.Stop, hangup: Hangup) -> None:
        using, own = commands.database(options), settings()
        host, port = commands.host_and_port(options["to"], "--to")
        if not host or not port:
            raise ConfigError(f"--to {options['to']}: no host or no port", "Write HOST:PORT")
        require_ready(using, own)
        roads = Roads(using, host, port, partial(papers.paths, options), own)
        report = LiveReport(Console(stderr=True)) if sys.stderr.isatty() else Report()
        with report:
            process.start_logging(options["verbosity"])
            Service(using, own, roads, report, stop, hangup, once=options["once"]).run()
