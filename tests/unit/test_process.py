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
    """The logger `sockstream` as without LOGGING; call `alone` first."""
    logger, root = logging.getLogger("sockstream"), logging.getLogger()
    before = logger.handlers[:], logger.level, logger.propagate, root.level
    logger.handlers[:] = []
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]
    root.handlers[:] = [each for each in root.handlers if not isinstance(each, Kept)]
    root.setLevel(before[3])


def alone() -> None:
    """Take pytest's own handlers from the root, which it puts there when a test begins."""
    logging.getLogger().handlers[:] = []


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
    alone()
    out = io.StringIO()
    process.start_logging(verbosity, out)
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("sockstream.receiver"), level)("%s", level)
    assert [line.split()[-1] for line in out.getvalue().splitlines()] == shown


def test_starting_twice_writes_each_line_once(quiet_logger: logging.Logger) -> None:
    alone()
    first, second = io.StringIO(), io.StringIO()
    process.start_logging(1, first)
    process.start_logging(1, second)
    quiet_logger.info("hello")
    assert first.getvalue() == ""
    assert second.getvalue().count("hello") == 1


def test_handlers_of_the_project_stay_alone(quiet_logger: logging.Logger) -> None:
    alone()
    own = logging.NullHandler()
    quiet_logger.addHandler(own)
    process.start_logging(1, io.StringIO())
    assert quiet_logger.handlers == [own]


class Kept(logging.Handler):
    """A handler of the project's; `lines` is what it got."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


LINES = ("debug", "info", "warning")


def log_all() -> None:
    for level in LINES:
        getattr(logging.getLogger("sockstream.sender"), level)("%s", level)


@pytest.mark.parametrize("verbosity", [0, 1, 2])
@pytest.mark.parametrize("own_handler", [True, False])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_a_level_of_the_project_wins(
    quiet_logger: logging.Logger, verbosity: int, own_handler: bool, level: int
) -> None:
    alone()
    kept, out = Kept(), io.StringIO()
    quiet_logger.setLevel(level)
    if own_handler:
        quiet_logger.addHandler(kept)
    for _ in range(2):
        process.start_logging(verbosity, out)
    log_all()
    expected = list(LINES if level == logging.DEBUG else LINES[2:])
    found = (
        kept.lines
        if own_handler
        else [line.split()[-1] for line in out.getvalue().split("\n")[:-1]]
    )
    assert found == expected
    assert bool(out.getvalue()) != own_handler


@pytest.mark.parametrize(
    ("root_level", "own_level", "expected"),
    [
        (logging.INFO, logging.NOTSET, ["info", "warning"]),
        (logging.WARNING, logging.NOTSET, ["warning"]),
        (logging.WARNING, logging.DEBUG, ["debug", "info", "warning"]),
        (logging.DEBUG, logging.WARNING, ["warning"]),
    ],
)
def test_handlers_of_the_root_logger_get_every_line_once(
    quiet_logger: logging.Logger, root_level: int, own_level: int, expected: list[str]
) -> None:
    """As for JSON: a line of another format beside it would be lost."""
    alone()
    kept, out = Kept(), io.StringIO()
    logging.getLogger().addHandler(kept)
    logging.getLogger().setLevel(root_level)
    quiet_logger.setLevel(own_level)
    process.start_logging(1, out)
    log_all()
    assert kept.lines == expected
    assert out.getvalue() == ""


def test_without_a_way_to_the_root_our_own_handler_is_there(quiet_logger: logging.Logger) -> None:
    alone()
    kept, out = Kept(), io.StringIO()
    logging.getLogger().addHandler(kept)
    quiet_logger.propagate = False
    quiet_logger.setLevel(logging.INFO)
    process.start_logging(1, out)
    log_all()
    assert kept.lines == []
    assert out.getvalue().count("\n") == 2


def test_handlers_without_a_level_get_what_verbosity_says(quiet_logger: logging.Logger) -> None:
    alone()
    kept = Kept()
    quiet_logger.addHandler(kept)
    process.start_logging(2)
    process.start_logging(1)
    log_all()
    assert kept.lines == ["info", "warning"]


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


STARTING = """
import os, signal, sys
sys.argv = ["manage.py", {command!r}]
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=[{app!r}], DATABASES={{}}, SOCKSTREAM={{"MODELS": []}})
from django.db.models import base
made = base.ModelBase.__new__
def hung_up(*args, **options):
    os.kill(os.getpid(), signal.SIGHUP)
    return made(*args, **options)
base.ModelBase.__new__ = hung_up
django.setup()
from sockstream.process import hangups
with hangups() as hangup:
    os.kill(os.getpid(), signal.SIGHUP)
    print("heard" if hangup.take() else "missed")
"""


@pytest.mark.parametrize(
    ("app", "command", "code"),
    [
        ("sockstream.sender", "oplog_send", 0),
        ("sockstream.receiver", "oplog_receive", 0),
        ("sockstream.sender", "shell", -signal.SIGHUP),
        ("sockstream.receiver", "oplog_send", -signal.SIGHUP),
    ],
)
def test_sighup_while_django_imports_the_models_ends_neither_command(
    app: str, command: str, code: int
) -> None:
    """What is no command of ours hears it as ever."""
    program = STARTING.format(app=app, command=command)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == ("heard\n" if code == 0 else "")


SPEAKING = """
import os, sys, tempfile
from django.conf import settings
settings.configure()
from django.core.management import call_command
from sockstream.commands import SockstreamCommand
class Command(SockstreamCommand):
    def run(self, options):
        self.stdout.write("said")
        self.stderr.write("complained")
        with tempfile.TemporaryFile() as file:
            print("printed", flush=True)
            print("printed", file=sys.stderr, flush=True)
            os.write({fd}, b"written")
            assert os.fstat(file.fileno()).st_size == 0
            assert file.fileno() > 2
call_command(Command())
os._exit(7)
"""


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_a_command_with_closed_outputs_works_and_writes_into_no_other_file(
    closed: tuple[int, ...],
) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    program = SPEAKING.format(fd=closed[-1])
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=60, check=False, preexec_fn=close
    )
    assert done.returncode == 7
