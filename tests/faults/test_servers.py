"""The test servers do not outlive the tests, however these end."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.servers import HOST, PostgreSQL, Server

ROOT = Path(__file__).resolve().parents[2]
GONE_WITHIN = 20.0

HOLD_A_SERVER = """
import sys
from tests.servers import PostgreSQL
with PostgreSQL() as server:
    print(server.port, server.folder, flush=True)
    sys.stdin.read()
"""


def answers(port: int) -> bool:
    """Whether anything listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_goes_with_the_process_that_started_it(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        port, folder = holder.stdout.readline().split()
        assert answers(int(port))
        holder.send_signal(how)
    deadline = time.monotonic() + GONE_WITHIN
    while (answers(int(port)) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not answers(int(port))
    assert not Path(folder).exists()


def test_a_server_does_not_run_as_root() -> None:
    with PostgreSQL() as server:
        connection = server.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
        assert psutil.Process(pid).uids().effective != 0
        connection.close()


def test_a_server_that_does_not_start_says_why() -> None:
    class Broken(PostgreSQL):
        """A server with an option that it does not know."""

        def command(self) -> list[str]:
            return [*super().command(), "--no_such_option=1"]

    server: Server = Broken()
    with pytest.raises(RuntimeError, match="no_such_option"):
        server.start()
    assert not server.folder.exists()
