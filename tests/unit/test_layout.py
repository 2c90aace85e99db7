"""The shape of the house: which part may import which, and what each app is labelled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps

PACKAGE = Path(__file__).resolve().parents[2] / "sockstream"
MODULES = sorted(PACKAGE.rglob("*.py"))
# What each part may import of ours. A part that is not here is a part that nobody decided on.
SHARED = {
    "conf",
    "direct",
    "exceptions",
    "expiry",
    "hangup",
    "management",
    "rows",
    "status",
    "tls",
    "tls_words",
}
MAY_IMPORT = {
    "": set(),
    "__main__": {"cli"},
    "certs": {"exceptions"},
    "cli": {"certs", "exceptions"},
    "conf": {"exceptions"},
    "direct": set(),
    "exceptions": set(),
    "expiry": set(),
    "hangup": set(),
    "management": {"conf", "exceptions", "rows", "tls"},
    "receiver": SHARED | {"wire"},
    "rows": {"conf", "exceptions"},
    "sender": SHARED | {"wire"},
    "status": {"conf", "exceptions", "expiry", "management", "rows", "tls", "wire"},
    "tls": {"certs", "exceptions", "tls_words"},
    "tls_words": {"exceptions"},
    "wire": set(),
}
WITHOUT_IO = ("asyncio", "django", "select", "selectors", "socket", "ssl", "threading", "time")


def part(module: Path) -> str:
    """The part of the package that a module belongs to: the first name below `sockstream`."""
    first = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported(module: Path) -> Iterator[str]:
    """The full name of each module that this one imports, relative ones resolved."""
    above = ["sockstream", *module.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = above[: len(above) - node.level + 1] if node.level else []
            origin = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The part that an imported name belongs to; None if it is somebody else's or `sockstream`."""
    first, *rest = name.split(".")
    if first != "sockstream" or not rest or rest[0] == "__version__":
        return None
    return rest[0]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(module: Path) -> None:
    here = part(module)
    parts = {ours(name) for name in imported(module)} - {None, here}
    assert parts <= MAY_IMPORT[here]


def test_every_part_is_decided_on() -> None:
    assert {part(module) for module in MODULES} <= MAY_IMPORT.keys()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_tls_makes_a_context(module: Path) -> None:
    """Elsewhere `ssl` is named for its errors and types: one place decides what is trusted."""
    made = {
        node.func.attr
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    if part(module) != "tls":
        assert not made & {"SSLContext", "create_default_context", "_create_unverified_context"}


def test_the_wire_is_bytes_and_time_only() -> None:
    """Importing all of it loads no socket, no thread and no Django."""
    names = [
        "sockstream." + ".".join(module.relative_to(PACKAGE).with_suffix("").parts)
        for module in MODULES
        if part(module) == "wire" and module.name != "__init__.py"
    ]
    code = f"""
import sys
before = set(sys.modules)
import importlib
for name in {names!r}:
    importlib.import_module(name)
print(*sorted(set({WITHOUT_IO!r}) & (set(sys.modules) - before)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert names
    assert told.stdout.split() == []


def test_the_wire_reads_no_clock() -> None:
    for module in MODULES:
        if part(module) == "wire":
            assert not {name.split(".")[0] for name in imported(module)} & set(WITHOUT_IO), module


def test_importing_the_library_does_no_work() -> None:
    """Neither settings nor Django are needed to read the version."""
    code = "import sys, sockstream; print(sockstream.__version__, 'django' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split()[1] == "False"


@pytest.mark.parametrize("end", ["sender", "receiver"])
def test_the_apps_have_labels_of_their_own(end: str) -> None:
    """A user's own app may be called `sender`."""
    assert apps.get_app_config(f"sockstream_{end}").name == f"sockstream.{end}"


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not [module for module in MODULES if module.stem in drawers]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_is_too_long(module: Path) -> None:
    lines = len(module.read_text().splitlines())
    assert lines <= 400
