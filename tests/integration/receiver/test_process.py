"""`oplog_receive` as a process: how it starts, why it does not, and how it ends."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from sockstream.receiver.models import Offset
from tests.conftest import on_two_centrals
from tests.databases import Databases
from tests.ends import ROOT
from tests.integration.receiver.process import receiver, site_of
from tests.integration.receiver.site import Oplog, PeerClosing, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot


@pytest.fixture
def central_db(databases: Databases) -> str:
    databases.clean("central_sqlite")
    return "central_sqlite"


def test_kill_and_come_back(central: str, trust: Trust) -> None:
    """SIGKILL at different moments: nothing is lost, doubled, or acked before it is committed."""
    oplog = Oplog()
    with receiver(central, trust) as running:
        for turn in range(4):
            site = site_of(running, trust, oplog)
            site.connect()
            for _ in range(30):
                oplog.add(slots(20), slots(5))
            site.run(lambda: site.acked > 0, "some acks")  # noqa: B023
            for _ in range(turn):
                site.fill()
                site.pump()
            running.kill()
            site.wait_until_closed()
            assert Offset.objects.using(central).get().seq >= site.acked
            running.start()
            running.wait_until_listening()
        site = site_of(running, trust, oplog)
        with connected(site):
            site.send_all(60)
        assert running.stop() == 0
    offset = Offset.objects.using(central).get()
    assert Slot.objects.using(central).count() == offset.seq == oplog.seq
    assert (offset.records_applied, offset.inserts_met) == (oplog.seq, 0)
    connections[central].close()


@on_two_centrals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(central: str, trust: Trust, number: signal.Signals) -> None:
    oplog = Oplog()
    with receiver(central, trust) as running:
        site = site_of(running, trust, oplog)
        site.connect()
        for _ in range(40):
            oplog.add(slots(50))
        site.run(lambda: site.acked > 0, "some acks")
        running.signal(number)
        assert site.wait_until_closed() is None
        bye = site.said(PeerClosing)[0].bye
        assert bye.reason == "shutdown"
        assert bye.retry_after >= 1
        assert bye.last_seq == site.acked
        assert running.wait() == 0
        assert f"site/main: applied up to {site.acked}" in running.log
        assert "gone: told to come back (shutdown)" in running.log
        assert "Traceback" not in running.log
        assert Offset.objects.using(central).get().seq == site.acked
        assert Offset.objects.using(central).get().state == "idle"
        running.start()
        running.wait_until_listening()
        with connected(site):
            site.send_all()
    connections[central].close()


def test_it_ends_without_the_goodbye_of_a_silent_site(central_db: str, trust: Trust) -> None:
    oplog = Oplog()
    oplog.add(slots(1))
    with receiver(central_db, trust) as running:
        site = site_of(running, trust, oplog)
        with connected(site):
            site.send_all()
            with socket.create_connection(("127.0.0.1", running.port)):
                running.signal(signal.SIGTERM)
                assert running.wait(15) == 0


def test_a_second_signal_ends_it_at_once(central_db: str, trust: Trust) -> None:
    oplog = Oplog()
    oplog.add(slots(1))
    with receiver(central_db, trust) as running:
        site = site_of(running, trust, oplog)
        with connected(site):
            site.send_all()
            running.signal(signal.SIGTERM)
            running.wait_for_line("Stopping")
            running.signal(signal.SIGTERM)
            assert running.wait(5) == 128 + signal.SIGTERM


def test_lines(central_db: str, trust: Trust) -> None:
    """One when it listens, one when a stream comes, one when it goes; none for a batch."""
    oplog = Oplog()
    oplog.add(slots(3))
    with receiver(central_db, trust) as running:
        site = site_of(running, trust, oplog)
        with connected(site):
            site.send_all()
        running.wait_for_line("gone")
        running.stop()
        lines = [re.sub(r"^\S+ \S+ [A-Z]+ ", "", line) for line in running.lines]
    others = "does not wait for the disk", "There is no list of revoked certificates"
    lines = [line for line in lines if not any(words in line for words in others)]
    assert lines[0] == f"Listening on 127.0.0.1:{running.port}"
    assert re.fullmatch(r"site/main: connected from 127.0.0.1:\d+, goes on after 0", lines[1])
    assert lines[2].startswith("site/main: gone: connection-lost")
    assert lines[2].endswith("; applied up to 3")
    assert lines[3:] == [
        "Stopping (SIGTERM): what is being applied is finished first",
        "site/main: applied up to 3",
        "Stopped",
    ]


# Why it does not start: one line, exit code 1.


@contextmanager
def taken_port(**options: bool) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), **options) as taken:
        yield taken.getsockname()[1]


class Refused:
    """Runs the command to its end, which is near."""

    def __init__(self, alias: str, trust: Trust, **settings: Any) -> None:
        self.process = receiver(alias, trust, **settings)
        self.before: Callable[[], None] | None = None

    def line(self, *arguments: str) -> str:
        """Its one line."""
        command = [sys.executable, "-m", "django", "oplog_receive", *arguments]
        done = subprocess.run(
            [*command, "--settings", "tests.settings"],
            env=self.process._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=self.before,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if "WARNING" not in line]
        assert len(lines) == 1, done.stderr
        return lines[0].removeprefix("CommandError: ")


def test_port_in_use(central_db: str, trust: Trust) -> None:
    with taken_port() as port:
        line = Refused(central_db, trust).line("--bind", f"127.0.0.1:{port}")
    assert line.startswith(f"Another program listens at 127.0.0.1:{port} already. Stop it")


@pytest.mark.parametrize("shares", [False, True])
def test_port_in_use_for_workers(databases: Databases, trust: Trust, shares: bool) -> None:
    """Also by somebody who shares it, such as the workers of another central."""
    databases.clean("central_pg")
    with taken_port(reuse_port=shares) as port:
        bind = f"127.0.0.1:{port}"
        line = Refused("central_pg", trust).line("--bind", bind, "--workers", "2")
    assert line.startswith(f"Another program listens at {bind} already. Stop it")


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_workers(central_db: str, trust: Trust, count: str) -> None:
    line = Refused(central_db, trust).line("--bind", "127.0.0.1:0", "--workers", count)
    assert line == f"--workers {count}: not a number of processes. Use 1 or more."


def test_more_workers_than_there_may_be_files(databases: Databases, trust: Trust) -> None:
    databases.clean("central_pg")
    refused = Refused("central_pg", trust)
    refused.before = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    line = refused.line("--bind", "127.0.0.1:0", "--workers", "80")
    assert "Too many open files" in line


def test_workers_on_sqlite(central_db: str, trust: Trust) -> None:
    line = Refused(central_db, trust).line("--bind", "127.0.0.1:0", "--workers", "2")
    assert line.startswith("--workers 2: on SQLite one process writes at a time")
    assert line.endswith("Leave --workers out, or use PostgreSQL.")


@pytest.mark.parametrize(
    ("bind", "words"),
    [
        ("localhost", "--bind localhost: not an address. Write HOST:PORT"),
        ("192.0.2.1:0", "192.0.2.1:0 is not an address of this machine"),
        ("no-such-host.invalid:0", "The host of no-such-host.invalid:0 is not known"),
    ],
)
def test_bad_bind(central_db: str, trust: Trust, bind: str, words: str) -> None:
    assert Refused(central_db, trust).line("--bind", bind).startswith(words)


def test_missing_certificate(central_db: str, trust: Trust, tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing.crt")
    line = Refused(central_db, trust).line("--bind", "127.0.0.1:0", "--cert", missing)
    assert missing in line
    assert "sockstream certs" in line


def test_no_certificate_named(central_db: str, trust: Trust) -> None:
    line = Refused(central_db, trust, KEY="").line("--bind", "127.0.0.1:0")
    assert line.startswith('Neither --key nor SOCKSTREAM["KEY"] is given')


def test_unknown_model(central_db: str, trust: Trust) -> None:
    line = Refused(central_db, trust, MODELS=["zoo.sloth"]).line("--bind", "127.0.0.1:0")
    assert line.startswith("SOCKSTREAM['MODELS'] names 'zoo.sloth', which is no installed app")


def test_unknown_setting(central_db: str, trust: Trust) -> None:
    line = Refused(central_db, trust, APLIERS=3).line("--bind", "127.0.0.1:0")
    assert line == "SOCKSTREAM has an unknown key 'APLIERS'. Did you mean 'APPLIERS'?"


def test_unknown_database(central_db: str, trust: Trust) -> None:
    line = Refused(central_db, trust).line("--bind", "127.0.0.1:0", "--database", "nope")
    assert line.startswith("--database nope: no such database")


def test_migrations_not_applied(central_db: str, trust: Trust) -> None:
    with connections[central_db].cursor() as cursor:
        ours = "FROM django_migrations WHERE app = 'sockstream_receiver'"
        cursor.execute(f"SELECT app, name, applied {ours}")
        applied = cursor.fetchall()
        cursor.execute(f"DELETE {ours}")
        try:
            line = Refused(central_db, trust).line("--bind", "127.0.0.1:0")
        finally:
            cursor.executemany(
                "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", applied
            )
    assert line.startswith("Database 'default' lacks migrations of sockstream_receiver")
    assert line.endswith("Run manage.py migrate.")


def test_database_unreachable(databases: Databases, trust: Trust) -> None:
    databases.clean("central_pg")
    refused = Refused("central_pg", trust)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
    refused.process._environment["SOCKSTREAM_TEST_POSTGRESQL"] = port
    line = refused.line("--bind", "127.0.0.1:0")
    assert line.startswith("Database 'default' cannot be used: ")
    assert "refused" in line
    assert line.endswith("Check DATABASES, and that its server runs.")
