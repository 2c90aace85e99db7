"""RabbitMQ of this machine as a child: own node, own folder, own ports, on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from typing import Any

from tests.servers import HOST, Server, free_port

# Debian's programs on PATH are for root, and write to the system's folders.
PLACES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin")


def find(program: str) -> str | None:
    """The path of a program, or None if there is none."""
    path = os.pathsep.join([*PLACES, os.environ.get("PATH", os.defpath)])
    return shutil.which(program, path=path)


class Epmd(Server):
    """Erlang's port mapper. A node that finds none starts one, which would stay."""

    def prepare(self) -> None:
        """It has no data."""

    def command(self) -> list[str]:
        return [str(find("epmd")), "-address", HOST, "-port", str(self.port)]

    def connect(self, database: str = "") -> Any:
        return socket.create_connection((HOST, self.port), 5)

    @property
    def not_ready(self) -> type[Exception]:
        return OSError


class RabbitMQ(Epmd):
    """The broker as it comes: no plugins, the user `guest`, who may come from loopback only."""

    # Its data is thrown away.
    stop_signal = signal.SIGKILL

    def __init__(self, epmd: Epmd) -> None:
        super().__init__()
        self.variables = {
            "HOME": self.folder,
            "ERL_EPMD_PORT": epmd.port,
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_FLAGS": "-start_epmd false",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_DIST_PORT": free_port(),
            "RABBITMQ_MNESIA_BASE": self.folder,
            "RABBITMQ_LOG_BASE": self.folder,
            "RABBITMQ_CONF_ENV_FILE": self.folder / "none",
            "RABBITMQ_CONFIG_FILE": self.folder / "none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": self.folder / "none",
            "RABBITMQ_LOGS": "-",
            # One process, the node itself, whom signals reach.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-noinput -kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"amqp://guest:guest@{HOST}:{self.port}/"

    def command(self) -> list[str]:
        return self.program("rabbitmq-server")

    def program(self, name: str) -> list[str]:
        """The command line of one of RabbitMQ's programs, for this node."""
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        return ["env", *variables, str(find(name))]
