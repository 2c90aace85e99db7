"""Run a management command whose wall clock jumps: a file says by how many seconds.

As the launcher of an End (`jumping`). `time.time`, `timezone.now` and `datetime.now` of all our
modules follow the file; the monotonic clock goes on as it does.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import django

_real_time = time.time


def jumping(by: Path) -> Sequence[str]:
    """The launcher of an End whose clock is off by the seconds that the file `by` holds."""
    return [sys.executable, "-m", "tests.faults.clocks", str(by)]


def main() -> None:
    """The arguments: the file, and the command line that would run without us."""
    _, by, _python, _m, _django, *command = sys.argv
    os.environ["DJANGO_SETTINGS_MODULE"] = command[command.index("--settings") + 1]
    django.setup()
    from django.core.management import execute_from_command_line, load_command_class

    # What the command imports has to be there before it is changed.
    app = "sockstream.sender" if command[0] == "oplog_send" else "sockstream.receiver"
    load_command_class(app, command[0])
    shift(Path(by))
    execute_from_command_line(["django", *command])


def shift(by: Path) -> None:
    """Let every wall clock of this process be off by the seconds in the file."""
    from django.utils import timezone

    def off() -> float:
        return float(by.read_text() or 0)

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=off())

    time.time = lambda: _real_time() + off()
    timezone.now = lambda: Shifted.now(timezone.get_default_timezone())
    for name, module in list(sys.modules.items()):
        if name.startswith("sockstream") and getattr(module, "datetime", None) is datetime:
            module.datetime = Shifted  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
