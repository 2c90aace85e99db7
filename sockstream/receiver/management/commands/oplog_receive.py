"""manage.py oplog_receive --bind HOST:PORT: take the streams of the sites and apply them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from sockstream import commands, process
from sockstream.conf import settings
from sockstream.process import Hangup, hangups
from sockstream.receiver.preflight import require_ready
from sockstream.receiver.roads.mtls.listening import listen, listen_many, shown
from sockstream.receiver.roads.mtls.server import Server
from sockstream.receiver.roads.mtls.workers import Workers, share
from sockstream.tls.papers import Papers, paths


class Command(commands.SockstreamCommand):
    """Serve the sites until a signal comes."""

    help = "Receive the sites' writes over mutual TLS, and apply them to this database."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--bind",
            required=True,
            metavar="HOST:PORT",
            help="where to listen: 0.0.0.0:PORT is IPv4 alone, :PORT and [::]:PORT are IPv4 and "
            "IPv6; port 0: a free one",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            metavar="N",
            help="how many processes share the work (default: 1; one only on SQLite)",
        )
        commands.add_database_option(parser)
        commands.add_tls_options(parser)

    def run(self, options: dict[str, Any]) -> None:
        with hangups() as hangup:
            self._receive(options, hangup)

    def _receive(self, options: dict[str, Any], hangup: Hangup) -> None:
        using, count = commands.database(options), options["workers"]
        own = share(settings(), count, using)
        host, port = commands.host_and_port(options["bind"], "--bind")
        papers = Papers(partial(paths, options))
        process.start_logging(options["verbosity"])
        require_ready(using, own)

        def serve(sockets: Sequence[socket.socket], stop: process.Stop, hangup: Hangup) -> None:
            Server(papers, using, own, hangup).run(sockets, stop)

        with process.stop_signals() as stop:
            if count == 1:
                with listen(host, port) as sockets:
                    self._say_where(sockets)
                    serve(sockets, stop, hangup)
            else:
                with listen_many(host, port, count) as several:
                    self._say_where(several[0])
                    Workers(serve, several).run(stop, hangup)

    def _say_where(self, sockets: Sequence[socket.socket]) -> None:
        self.stdout.write(f"Listening on {shown(sockets)}")
        self.stdout.flush()
