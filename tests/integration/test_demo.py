"""The demo as people run it: it ends with two equal databases, or says why not; nothing remains."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from demo.processes import DemoError, Program

ROOT = Path(__file__).resolve().parents[2]
RECORDS = 1_000
MODELS = {"polls.tag", "polls.question", "polls.question_tags", "polls.choice"}


@contextmanager
def running(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo", f"--folder={folder}", f"--records={RECORDS}", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield demo
    finally:
        # Not SIGKILL: it has processes of its own to end.
        demo.terminate()
        demo.communicate()


def run(folder: Path, *options: str) -> tuple[int, str, str]:
    """The demo's exit status, and what it wrote to stdout and stderr."""
    with running(folder, *options) as demo:
        out, err = demo.communicate()
    return demo.returncode, out, err


def differences(out: str) -> dict[str, tuple[str, str, str]]:
    """The table's rows: what is at the site, at central, and how much differs."""
    cells = (line.split("│")[1:5] for line in out.splitlines() if line.startswith("│"))
    return {name.strip(): (a.strip(), b.strip(), n.strip()) for name, a, b, n in cells}


def pids(out: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"process (\d+)", out)]


@pytest.mark.parametrize("options", [[], ["--postgresql"]], ids=["sqlite", "postgresql"])
def test_both_ends_are_equal_in_the_end(tmp_path: Path, options: list[str]) -> None:
    status, out, err = run(tmp_path / "run", *options)

    assert (status, err) == (0, ""), out
    table = differences(out)
    assert table.keys() == {*MODELS, "seq / offset", "digest"}
    for name, (site, central, different) in table.items():
        assert (site, different) == (central, "0"), name
    assert int(table["seq / offset"][0].replace(",", "")) >= RECORDS
    for killed in ("sender", "receiver"):
        assert re.search(rf"Killed the {killed}, process \d+, with SIGKILL", out)
    assert not any(map(psutil.pid_exists, pids(out)))


def test_a_field_that_differs_is_found(tmp_path: Path) -> None:
    status, out, err = run(tmp_path / "run", "--tamper")

    assert status == 1, out
    assert re.fullmatch(
        r"demo: 1 difference: polls\.question [-0-9a-f]{36}: text is .+ at the site,"
        r" 'What did somebody do here\?' at central\n",
        err,
    )
    assert {name for name, row in differences(out).items() if row[2] != "0"} == {"polls.question"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path / "run") as demo:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if "it writes" in line:
                break
        started = [psutil.Process(pid) for pid in pids(said)]
        demo.send_signal(number)
        _, err = demo.communicate()

    assert (demo.returncode, len(started)) == (130, 3)
    assert err == "demo: interrupted, all its processes are stopped\n"
    assert not any(process.is_running() for process in started)


def test_what_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear Ann")

    status, _, err = run(tmp_path)

    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"demo: {tmp_path} is not empty")
    assert (tmp_path / "letter").exists()


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        status, _, err = run(tmp_path)

    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"demo: Another demo runs in {tmp_path}")


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Program("waiter", ["-c", "import sys; sys.exit('no tea left')"], {}, tmp_path) as program:
        program.start()

        with pytest.raises(DemoError) as told:
            program.answer()

    log = tmp_path / "waiter.log"
    assert str(told.value) == f"The waiter ended with status 1: no tea left (see {log})"


def test_a_process_is_gone_at_the_end_of_its_block(tmp_path: Path) -> None:
    script = "import sys; print('here'); sys.stdin.read()"
    with Program("waiter", ["-c", script], {}, tmp_path) as program:
        program.start()
        assert program.answer() == "here"
        pid = program.pid

    assert not psutil.pid_exists(pid)
