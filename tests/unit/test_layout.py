"""The shape of the house: which part may import which, and what each app is labelled."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest
from django.apps import apps

PACKAGE = Path(__file__).resolve().parents[2] / "sockstream"
MODULES = sorted(PACKAGE.rglob("*.py"))
BOTH_ENDS = {
    "columns",
    "commands",
    "conf",
    "databases",
    "exceptions",
    "process",
    "rows",
    "tls",
    "wire",
}
# What each room may import of ours. A room is the longest of these paths that a module lies under;
# a module that lies under none is one that nobody decided on.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "certs": {"exceptions"},
    "cli": {"certs", "exceptions"},
    "columns": {"rows"},
    "commands": {"databases", "exceptions", "process"},
    "conf": {"exceptions"},
    "databases": {"conf", "exceptions"},
    "exceptions": set(),
    "process": set(),
    "rows": {"conf", "exceptions"},
    "status": {"commands", "conf", "databases", "exceptions", "rows", "tls", "wire"},
    "tls": {"certs", "conf", "exceptions", "wire"},
    "wire": {"exceptions"},
    # From capture up to the roads.
    "sender": BOTH_ENDS
    | {"sender/capture", "sender/capture/dialects"}
    | {"sender/models", "sender/oplog", "status"},
    "sender/oplog": {"conf", "databases", "exceptions", "rows", "wire"}
    | {"sender/capture", "sender/capture/dialects", "sender/models"},
    "sender/capture": {"columns", "conf", "databases", "exceptions", "rows", "wire"}
    | {"sender/capture/dialects", "sender/models"},
    "sender/capture/dialects": {"columns", "databases", "rows", "exceptions", "sender/capture"}
    | {"sender/models"},
    "sender/models": set(),
    # From the roads down to the dialects: data flows one way.
    "receiver": BOTH_ENDS
    | {"receiver/applying", "receiver/dialects", "receiver/models", "receiver/roads"}
    | {"receiver/signals"}
    | {"receiver/applying/parking", "receiver/applying/tables", "receiver/streams", "status"},
    "receiver/roads": BOTH_ENDS - {"commands", "databases"}
    | {"receiver/applying", "receiver/dialects", "receiver/streams"},
    "receiver/streams": BOTH_ENDS - {"commands", "process"}
    | {"receiver/applying", "receiver/dialects", "receiver/models"},
    "receiver/applying": {"columns", "conf", "databases", "exceptions", "rows", "wire"}
    | {"receiver/applying/parking", "receiver/applying/tables"}
    | {"receiver/dialects", "receiver/models", "receiver/signals"},
    "receiver/applying/parking": {"exceptions", "rows", "wire"}
    | {"receiver/applying", "receiver/applying/tables", "receiver/dialects", "receiver/models"},
    "receiver/applying/tables": {"columns", "conf", "databases", "exceptions", "rows", "wire"}
    | {"receiver/applying", "receiver/dialects", "receiver/models"},
    "receiver/dialects": {"columns", "databases", "exceptions", "rows"},
    "receiver/models": {"receiver/dialects"},
    "receiver/signals": set(),
}
# How code asks which database it has before it. At central, only the dialects do.
OF_ONE_DATABASE = {"sqlite", "postgresql", "mysql", "oracle"}
ASKS_FOR_IT = {"vendor", "has_select_for_update", "has_select_for_update_of"}
WITHOUT_IO = ("asyncio", "django", "select", "selectors", "socket", "ssl", "threading", "time")


def room(path: str) -> str | None:
    """The room of a module, by its path below `sockstream` without the suffix."""
    parts = path.split("/")
    above = ("/".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in above if name in MAY_IMPORT), None)


def part(module: Path) -> str | None:
    """The room that a file is in."""
    return room(module.relative_to(PACKAGE).with_suffix("").as_posix())


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
    """The room that an imported name belongs to; None if it is somebody else's or `sockstream`."""
    first, *rest = name.split(".")
    if first != "sockstream" or not rest or rest[0] == "__version__":
        return None
    return room("/".join(rest))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(module: Path) -> None:
    here = part(module)
    assert here is not None
    rooms = {ours(name) for name in imported(module)} - {None, here}
    assert rooms <= MAY_IMPORT[here]


def asks_for_the_database(source: str) -> set[str]:
    """The names by which this code tells one database from another."""
    nodes = list(ast.walk(ast.parse(source)))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return attributes & ASKS_FOR_IT | texts & OF_ONE_DATABASE


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_at_central_only_the_dialects_ask_for_the_database(module: Path) -> None:
    place = module.relative_to(PACKAGE).as_posix()
    if place.startswith("receiver/") and part(module) != "receiver/dialects":
        # A migration is as old as it is.
        assert not asks_for_the_database(module.read_text()) or "/migrations/" in place


@pytest.mark.parametrize(
    "source",
    [
        'connections[using].vendor == "oracle"',
        "if connection.vendor in TABLE: pass",
        "lock = connection.features.has_select_for_update",
        'CLASSES = {"sqlite": 1}',
    ],
)
def test_asking_for_the_database_is_seen(source: str) -> None:
    assert asks_for_the_database(source)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types count: whoever reads one module of a circle has to read all of them."""
    names = {name_of(module): module for module in MODULES}
    graph = {name: leads_to(module, names) - {name} for name, module in names.items()}
    assert not circles(graph)


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}


def name_of(module: Path) -> str:
    """The name that a module is imported by."""
    parts = module.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def leads_to(module: Path, names: Collection[str]) -> set[str]:
    """Those of `names` that a module imports: `from x import y` is x.y, if that is a module."""
    found = {name if name in names else name.rpartition(".")[0] for name in imported(module)}
    return found.intersection(names)


def circles(graph: Mapping[str, set[str]]) -> set[str]:
    """The modules that lead back to themselves."""
    return {name for name in graph if name in reached(graph, name)}


def reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """All that `start` imports, and what that imports."""
    found: set[str] = set()
    coming = list(graph[start])
    while coming:
        if (name := coming.pop()) not in found:
            found.add(name)
            coming += graph[name]
    return found


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
