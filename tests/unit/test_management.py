"""What the commands share: options, signals, log lines."""

from __future__ import annotations

import io
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from sockstream import management
from sockstream.exceptions import ConfigError, SockstreamError


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("sockstream")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost:9000", ("localhost", 9000)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:9000", ("::1", 9000)),
        (":9000", ("", 9000)),
        (" central.example.org:65535 ", ("central.example.org", 65535)),
    ],
)
def test_address(text: str, parts: tuple[str, int]) -> None:
    assert management.host_and_port(text, "--bind") == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:http",
        "::1:9000",
        "[::1]",
        "a:65536",
        "a:-1",
        "a:b:1",
    ],
)
def test_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--to .*not an address. Write HOST:PORT"):
        management.host_and_port(text, "--to")


def test_paths_from_options_win_over_settings(tmp_path: Path) -> None:
    with override_settings(SOCKSTREAM={"CA": "ca", "CERT": "cert", "KEY": "key"}):
        found = management.paths({"ca": str(tmp_path / "mine.crt"), "cert": None, "key": ""})
    assert found == management.Paths(str(tmp_path / "mine.crt"), "cert", "key", "")


def test_crl_lies_beside_the_ca(tmp_path: Path) -> None:
    (tmp_path / "crl.pem").touch()
    options = {"ca": str(tmp_path / "ca.crt"), "cert": "c", "key": "k"}
    with override_settings(SOCKSTREAM={}):
        assert management.paths(options).crl == str(tmp_path / "crl.pem")
    with override_settings(SOCKSTREAM={"CRL": "elsewhere.pem"}):
        assert management.paths(options).crl == "elsewhere.pem"


def test_a_missing_path_names_option_and_setting() -> None:
    with (
        override_settings(SOCKSTREAM={"CA": "ca", "CERT": "cert"}),
        pytest.raises(ConfigError, match=r'Neither --key nor SOCKSTREAM\["KEY"\] is given'),
    ):
        management.paths({})


def test_unknown_database_names_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"--database nope: no such database. Use one of: .*default"
    ):
        management.database({"database": "nope"})


class Failing(management.SockstreamCommand):
    def run(self, options: dict[str, object]) -> None:
        raise SockstreamError("code", "It broke", "Mend it")


def test_an_error_becomes_one_line() -> None:
    with pytest.raises(CommandError, match=r"^It broke. Mend it.$") as caught:
        call_command(Failing())
    assert caught.value.returncode == 1


def test_stop_is_seen_by_who_waits_and_who_asks() -> None:
    with management.stop_signals() as stop:
        assert not stop.requested
        assert not stop.wait(0)
        threading.Timer(0.05, stop.request, ["enough"]).start()
        assert stop.wait(5)
        assert stop.requested
        assert stop.reason == "enough"
        assert stop.wait(0), "it stays readable"


def test_first_signal_requests_a_stop_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with management.stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        assert stop.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_second_signal_ends_the_process_at_once() -> None:
    program = (
        "import os, signal, time\n"
        "from sockstream.management import stop_signals\n"
        "with stop_signals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    stop.wait()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGINT


def test_a_signal_after_another_request_is_the_first_one() -> None:
    with management.stop_signals() as stop:
        stop.request("enough")
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == "enough"


def test_outside_the_main_thread_no_signals_are_taken() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with management.stop_signals() as stop:
            seen.append(signal.getsignal(signal.SIGTERM))
            stop.request("test")
            seen.append(stop.wait(5))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert seen == [before, True]


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [(0, ["warning"]), (1, ["info", "warning"]), (3, ["debug", "info", "warning"])],
)
def test_log_lines_by_verbosity(
    quiet_logger: logging.Logger, verbosity: int, shown: list[str]
) -> None:
    out = io.StringIO()
    management.start_logging(verbosity, out)
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("sockstream.receiver"), level)("%s", level)
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == shown


def test_starting_twice_writes_each_line_once(quiet_logger: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    management.start_logging(1, first)
    management.start_logging(1, second)
    quiet_logger.info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_handlers_of_the_project_stay_alone(quiet_logger: logging.Logger) -> None:
    own = logging.NullHandler()
    quiet_logger.addHandler(own)
    management.start_logging(1, io.StringIO())
    assert quiet_logger.handlers == [own]
