"""Run the tests on every Python found here with every Django that supports it: `make test-all`.

Interpreters are looked for on PATH and among pyenv's. Each pair has its own virtual environment in
`.matrix/`, kept for the next run. Arguments go to pytest. Exits 1 if a pair failed, or none ran.
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


def main(arguments: list[str]) -> int:
    """Run what can be run, say what cannot, and give 0 if everything that ran passed."""
    results: dict[str, str] = {}
    for version in PYTHONS:
        interpreter = find(version)
        if interpreter is None:
            results[f"Python {version}"] = "not found on this machine: left out"
            continue
        for django, supported in DJANGOS.items():
            if version in supported:
                pair = f"Python {version}, Django {django}"
                print(f"== {pair}", flush=True)
                passed = run(interpreter, version, django, arguments)
                results[pair] = "passed" if passed else "FAILED"
    print(*(f"{pair}: {result}" for pair, result in results.items()), sep="\n")
    return int("FAILED" in results.values() or "passed" not in results.values())


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


def run(interpreter: str, version: str, django: str, arguments: list[str]) -> bool:
    """Install and test one pair; whether all went well."""
    folder = ROOT / ".matrix" / f"python{version}-django{django}"
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check"]
    steps: list[list[str]] = [
        [*pip, "install", "--editable", ".[test]", f"Django=={django}.*"],
        [str(python), "-m", "pytest", *arguments],
    ]
    if not python.exists():
        steps.insert(0, [interpreter, "-m", "venv", str(folder)])
    return all(subprocess.run(step, cwd=ROOT, check=False).returncode == 0 for step in steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
