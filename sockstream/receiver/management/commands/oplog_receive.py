"""manage.py oplog_receive --bind HOST:PORT: take the streams of the sites and apply them."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from sockstream import management, tls
from sockstream.conf import settings
from sockstream.receiver.preflight import require_ready
from sockstream.receiver.serving.listening import listen, shown
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
        using, own = management.database(options), settings()
        host, port = management.host_and_port(options["bind"], "--bind")
        files = management.paths(options)
        context = tls.server_context(files.ca, files.cert, files.key)
        tls.require_valid(files.cert)
        management.start_logging(options["verbosity"])
        require_ready(using, own)
        server = Server(context, files, using, own)
        with management.stop_signals() as stop, listen(host, port) as sockets:
            self.stdout.write(f"Listening on {shown(sockets)}")
            self.stdout.flush()
            server.run(sockets, stop)
