"""One target under atheris, which ends the process: `python -m tests.fuzz_target NAME OPTION...`.

What is imported here is instrumented, so nothing of it may be imported before.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sockstream.wire"]):
    from tests.unit.wire.targets import TARGETS

if __name__ == "__main__":
    name, *options = sys.argv[1:]
    # By this, a shell starts it once more when inputs are merged.
    command = f"{sys.executable} -m tests.fuzz_target {name}"
    atheris.Setup([command, *options], TARGETS[name])
    atheris.Fuzz()
