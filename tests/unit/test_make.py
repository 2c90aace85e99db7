"""`make` on a machine whose Python will not do, and the matrix of interpreters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).resolve().parents[2]
OLD = """case "$*" in
  --version) echo Python 3.9.2;;
  *version_info*) exit 1;;
esac"""
WITHOUT_VENV = """case "$*" in *ensurepip*) exit 1;; esac"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make_with(python: Path | str, folder: Path) -> tuple[int, list[str]]:
    """`make test` with this interpreter; the exit code, and the lines that are not make's own."""
    done = subprocess.run(
        ["make", "--no-print-directory", "test", f"PYTHON={python}", f"VENV={folder / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, [line for line in lines if not line.startswith("make")]


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """The path of an interpreter that the test writes."""
    return tmp_path / "python3"


def write(program: Path, body: str) -> None:
    """Make `program` a shell script."""
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_no_python_is_said_in_one_line(tmp_path: Path) -> None:
    code, (line,) = make_with("no-such-python", tmp_path)
    assert code
    assert line.startswith("no-such-python was not found: install Python 3.11 or newer")


def test_an_old_python_is_said_in_one_line(stand_in: Path) -> None:
    write(stand_in, OLD)
    code, (line,) = make_with(stand_in, stand_in.parent)
    assert code
    assert "(Python 3.9.2): Python 3.11 or newer is needed" in line


def test_a_python_without_venv_is_said_in_one_line(stand_in: Path) -> None:
    write(stand_in, WITHOUT_VENV)
    code, (line,) = make_with(stand_in, stand_in.parent)
    assert code
    assert "apt install python3-venv" in line


def test_the_matrix_finds_this_interpreter() -> None:
    version = "{}.{}".format(*sys.version_info)
    found = matrix.find(version)
    if found is not None:  # it may have been started by a path that nobody looks in
        told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
        assert f" {version}." in told.stdout


def test_the_matrix_knows_what_is_not_there() -> None:
    assert matrix.find("3.99") is None


def test_every_django_of_the_matrix_has_its_pythons() -> None:
    assert all(set(pythons) <= set(matrix.PYTHONS) for pythons in matrix.DJANGOS.values())
