"""Run the tests on every Python found here with every Django that supports it: `make test-all`.

With --others first (`make test-others`): the unit tests on every Python but this one, each with the
newest Django that supports it. Pytest's output is then printed of those that fail alone.

Interpreters are looked for on PATH and among pyenv's. Each pair has its own virtual environment in
`.matrix/`, kept for the next run. Arguments go to pytest. Exits 1 if a pair failed, or if no pair
ran without --others.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# The Python versions that each Django supports, among ours.
DJANGOS = {
    "5.2": PYTHONS,
    "6.0": ("3.12", "3.13", "3.14"),
    "6.1": ("3.12", "3.13", "3.14"),
}
UNITS = ("tests/unit", "-n", "2", "--dist", "worksteal")
MISSING = "not found on this machine: left out"


def main(arguments: list[str]) -> int:
    """Run what can be run, say what cannot, and give 0 if everything that ran passed."""
    beside = arguments[:1] == ["--others"]
    results = others(arguments[1:]) if beside else everything(arguments)
    print(*(f"{pair}: {result}" for pair, result in results.items()), sep="\n", flush=True)
    failed = "FAILED" in results.values()
    return int(failed or ("passed" not in results.values() and not beside))


def everything(arguments: list[str]) -> dict[str, str]:
    """Every Python with every Django that supports it: each pair's result."""
    results: dict[str, str] = {}
    for version in PYTHONS:
        interpreter = find(version)
        if interpreter is None:
            results[f"Python {version}"] = MISSING
            continue
        for django, supported in DJANGOS.items():
            if version in supported:
                pair = f"Python {version}, Django {django}"
                print(f"== {pair}", flush=True)
                results[pair] = run(interpreter, version, django, arguments)
    return results


def others(arguments: list[str]) -> dict[str, str]:
    """The unit tests on every Python but this one, with its newest Django: each pair's result."""
    results: dict[str, str] = {}
    for version in PYTHONS:
        if version == "{}.{}".format(*sys.version_info):
            continue
        interpreter = find(version)
        if interpreter is None:
            results[f"Python {version}"] = MISSING
            continue
        django = newest(version)
        pair = f"Python {version}, Django {django}"
        results[pair] = run(interpreter, version, django, [*UNITS, *arguments], quiet=True)
    return results


def newest(version: str) -> str:
    """The newest Django that supports this Python."""
    return [django for django, supported in DJANGOS.items() if version in supported][-1]


def find(version: str) -> str | None:
    """An interpreter of this version that runs, or None."""
    for candidate in candidates(version):
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)
        if told.returncode == 0 and told.stdout.strip() == version:
            return candidate
    return None


def candidates(version: str) -> Iterator[str]:
    """Where such an interpreter may be. A shim of pyenv's may be there and yet not run."""
    if (found := shutil.which(f"python{version}")) is not None:
        yield found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(versions.glob(f"{version}.*/bin/python{version}")))


def run(
    interpreter: str, version: str, django: str, arguments: list[str], *, quiet: bool = False
) -> str:
    """Install and test one pair: "passed" or "FAILED". `quiet`: print what failed, only then."""
    folder = ROOT / ".matrix" / f"python{version}-django{django}"
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
    steps: list[list[str]] = [
        [*pip, "install", "--editable", ".[test]", f"Django=={django}.*"],
        [str(python), "-m", "pytest", *arguments],
    ]
    if not python.exists():
        steps.insert(0, [interpreter, "-m", "venv", str(folder)])
    return "passed" if all(succeeds(step, quiet) for step in steps) else "FAILED"


def succeeds(step: list[str], quiet: bool) -> bool:
    """Whether a command exits with 0."""
    kept = subprocess.PIPE if quiet else None
    done = subprocess.run(
        step, cwd=ROOT, stdout=kept, stderr=subprocess.STDOUT if quiet else None, check=False
    )
    if quiet and done.returncode:
        print(done.stdout.decode(errors="replace"), end="", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
