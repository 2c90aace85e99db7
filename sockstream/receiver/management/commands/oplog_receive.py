"""manage.py oplog_receive --bind HOST:PORT: take the streams of the sites and apply them."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from sockstream import management
from sockstream.conf import settings
from sockstream.hangup import Hangup, hangups
from sockstream.receiver.preflight import require_ready
from sockstream.receiver.serving.listening import listen, shown
from sockstream.receiver.serving.papers import Papers
from sockstream.receiver.serving.server import Server


class Command(management.SockstreamCommand):
    """Serve the sites until a signal comes."""

    help = "Receive the sites' writes over mutual TLS, and apply them to this database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bind", required=True, metavar="HOST:PORT", help="where to listen; port 0: a free one"
        )
        management.add_database_option(parser)
        management.add_tls_options(parser)

    def run(self, options: dict[str, Any]) -> None:
        with hangups() as hangup:
            self._receive(options, hangup)

    def _receive(self, options: dict[str, Any], hangup: Hangup) -> None:
        using, own = management.database(options), settings()
        host, port = management.host_and_port(options["bind"], "--bind")
        papers = Papers(partial(management.paths, options))
        management.start_logging(options["verbosity"])
        require_ready(using, own)
        server = Server(papers, using, own, hangup)
        with management.stop_signals() as stop, listen(host, port) as sockets:
            self.stdout.write(f"Listening on {shown(sockets)}")
            self.stdout.flush()
            server.run(sockets, stop)
