"""The wire knows bytes and time: no IO, no threads, no Django."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sockstream import wire

MODULES = sorted(path.stem for path in Path(wire.__file__).parent.glob("*.py"))
PROGRAM = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"sockstream.wire.{name}")
print(*sorted(sys.modules))
"""


def loaded() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(name for name in MODULES if name != "__init__")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        # None of what measures this process is to be loaded there.
        env={"PYTHONPATH": str(Path(wire.__file__).parents[2])},
    )
    return set(done.stdout.split())


def test_nothing_that_does_io_is_loaded() -> None:
    names = loaded()
    assert {"sockstream.wire.sending", "sockstream.wire.receiving", "msgpack"} <= names
    for forbidden in ("socket", "ssl", "select", "asyncio", "django", "sockstream.rows"):
        assert forbidden not in names


def test_nothing_of_ours_is_loaded_but_the_wire_and_the_tree_of_errors() -> None:
    ours = {name for name in loaded() if name.startswith("sockstream")}
    others = {name for name in ours if not name.startswith("sockstream.wire")}
    assert others == {"sockstream", "sockstream.exceptions"}


def test_no_module_imports_threading_or_a_clock() -> None:
    folder = Path(wire.__file__).parent
    for name in MODULES:
        source = (folder / f"{name}.py").read_text()
        for module in ("threading", "time", "socket", "ssl", "logging"):
            assert f"import {module}\n" not in source
