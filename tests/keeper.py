"""Hold one server process for as long as this process's standard input stays open.

Run as a program, in a session of its own, by `tests.servers`. The tests close its input when they
end; the kernel closes it when they are killed. Either way the server is stopped by its process id
and its folder removed, so that no way of ending a test run leaves anything behind.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

STOP_WITHIN = 15.0


def main() -> int:
    """Read one line of JSON (what to run, where, as whom), then wait for the input's end.

    Exits 1, and leaves the folder with its log to whoever asks, if the server ends by itself.
    """
    order = json.loads(sys.stdin.readline())
    folder = Path(order["folder"])
    asked = threading.Event()
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
        how = signal.Signals(order["stop"])
        threading.Thread(target=stop_at_the_end, args=(server, how, asked), daemon=True).start()
        server.wait()
    if not asked.is_set():
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def stop_at_the_end(
    server: subprocess.Popen[bytes], how: signal.Signals, asked: threading.Event
) -> None:
    """When the input ends, end the server: `how` first, SIGKILL after STOP_WITHIN seconds."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    asked.set()
    server.send_signal(how)
    try:
        server.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
