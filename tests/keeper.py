"""Hold one server process for as long as this process's standard input stays open.

Run as a program, in a session of its own, by `tests.servers`. The tests close its input when they
end; the kernel closes it when they are killed. Either way the server is stopped by its process id
and its folder removed, so that no way of ending a test run leaves anything behind.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

STOP_WITHIN = 15.0


def main() -> int:
    """Read one line of JSON (what to run, where, as whom), then wait for the input's end."""
    order = json.loads(sys.stdin.readline())
    folder = Path(order["folder"])
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            order["command"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=order["user"],
            group=order["group"],
            extra_groups=None if order["user"] is None else [],
        )
        sys.stdin.read()
        stop(server, signal.Signals(order["stop"]))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def stop(server: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End the server by its process id: `how` first, SIGKILL after STOP_WITHIN seconds."""
    server.send_signal(how)
    try:
        server.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
