"""`make` on a machine whose Python will not do, other Pythons, and Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / ".ci" / "packages"
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


def test_the_other_pythons_have_the_newest_django_that_supports_them() -> None:
    assert matrix.newest("3.11") == "5.2"
    assert matrix.newest("3.14") == "6.1"


def test_a_machine_with_one_python_has_no_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(matrix, "find", lambda version: None)
    assert matrix.main(["--others"]) == 0
    said = capsys.readouterr().out
    assert said.count(matrix.MISSING) == len(matrix.PYTHONS) - 1
    assert "Python {}.{}:".format(*sys.version_info) not in said
    assert matrix.main([]) == 1, "the matrix wants at least one"


@pytest.mark.parametrize(("code", "printed"), [(0, ""), (1, "why\n")])
def test_a_quiet_step_prints_what_failed(
    code: int, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = [sys.executable, "-c", f"print('why'); raise SystemExit({code})"]
    assert matrix.succeeds(step, quiet=True) == (code == 0)
    assert capsys.readouterr().out == printed


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs that come first on PATH: everything is installed, and root asks."""
    for name in ("mariadbd", "pkg-config", "gcc", "python3"):
        write(tmp_path / name, "exit 0")
    write(tmp_path / "id", "echo 0")
    write(tmp_path / "apt-get", 'echo "$*" >> "$(dirname "$0")/asked"')
    return tmp_path


def install_on(machine: Path) -> tuple[int, list[str], list[str]]:
    """`.ci/packages` there: its code, the lines that it printed, and what apt-get was asked."""
    if not PACKAGES.exists():
        pytest.skip("the source distribution has no .ci")
    done = subprocess.run(
        [PACKAGES],
        env=os.environ | {"PATH": f"{machine}:{os.environ['PATH']}", "PYTHON": "python3"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    asked = machine / "asked"
    lines = (done.stdout + done.stderr).splitlines()
    return done.returncode, lines, asked.read_text().splitlines() if asked.exists() else []


def test_nothing_is_installed_where_all_is_there(machine: Path) -> None:
    assert install_on(machine) == (0, [], [])


def test_what_is_missing_is_installed(machine: Path) -> None:
    write(machine / "pkg-config", "exit 1")
    write(machine / "python3", "exit 1")
    wanted = "default-libmysqlclient-dev pkg-config python3-dev"
    code, lines, asked = install_on(machine)
    assert (code, lines) == (0, [f"Installing {wanted}"])
    assert asked == ["update", f"install --yes --no-install-recommends {wanted}"]


@pytest.mark.parametrize("refused", ["update", "install"])
def test_an_apt_that_fails_is_said_in_one_line(refused: str, machine: Path) -> None:
    write(machine / "pkg-config", "exit 1")
    write(machine / "apt-get", f'[ "$1" != {refused} ] || {{ echo "E: no network"; exit 100; }}')
    code, lines, _ = install_on(machine)
    assert (code, lines[1:]) == (
        1,
        ["apt-get cannot install default-libmysqlclient-dev pkg-config: no network"],
    )


def test_only_root_installs(machine: Path) -> None:
    write(machine / "pkg-config", "exit 1")
    write(machine / "id", "echo 1000")
    code, [line], asked = install_on(machine)
    assert (code, asked) == (0, [])
    assert "default-libmysqlclient-dev pkg-config: only root can install" in line
