"""Signals and log lines of a process of ours."""

from __future__ import annotations

import io
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sockstream import process
from sockstream.process import hangups


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("sockstream")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:] = []
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]


def test_stop_is_seen_by_who_waits_and_who_asks() -> None:
    with process.stop_signals() as stop:
        assert not stop.requested
        assert not stop.wait(0)
        threading.Timer(0.05, stop.request, ["enough"]).start()
        assert stop.wait(5)
        assert stop.requested
        assert stop.reason == "enough"
        assert stop.wait(0), "it stays readable"


def test_first_signal_requests_a_stop_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with process.stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(5)
        assert stop.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_second_signal_ends_the_process_at_once() -> None:
    program = (
        "import os, signal, time\n"
        "from sockstream.process import stop_signals\n"
        "with stop_signals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    stop.wait()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert done.returncode == 128 + signal.SIGINT


def test_a_signal_after_another_request_is_the_first_one() -> None:
    with process.stop_signals() as stop:
        stop.request("enough")
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == "enough"


def test_outside_the_main_thread_no_signals_are_taken() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def work() -> None:
        with process.stop_signals() as stop:
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
    process.start_logging(verbosity, out)
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("sockstream.receiver"), level)("%s", level)
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == shown


def test_starting_twice_writes_each_line_once(quiet_logger: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    process.start_logging(1, first)
    process.start_logging(1, second)
    quiet_logger.info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_handlers_of_the_project_stay_alone(quiet_logger: logging.Logger) -> None:
    own = logging.NullHandler()
    quiet_logger.addHandler(own)
    process.start_logging(1, io.StringIO())
    assert quiet_logger.handlers == [own]


def test_a_signal_is_heard_once() -> None:
    with hangups() as hangup:
        assert not hangup.take()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert select.select([hangup], [], [], 5)[0]
        assert hangup.take()
        assert not hangup.take()
        assert not select.select([hangup], [], [], 0)[0]


def test_more_signals_than_a_pipe_holds() -> None:
    with hangups() as hangup:
        for _ in range(100_000):
            hangup.request()
        assert hangup.take()


def test_the_handler_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with hangups():
        assert signal.getsignal(signal.SIGHUP) is not before
    assert signal.getsignal(signal.SIGHUP) is before


def test_in_another_thread_there_are_no_signals() -> None:
    def use() -> bool:
        with hangups() as hangup:
            hangup.request()
            return hangup.take()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(use).result(5)
