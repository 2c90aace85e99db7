"""Who does a database's work: which process, on which machine, and whether it still lives.

On the same machine the kernel tells. Its boot and its namespace of processes belong to the name,
since a container gives the same numbers again, and so does a machine after its start.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Name:
    """A process. `machine` is where its `pid` counts, `started` when that number was given."""

    host: str = field(compare=False)
    machine: str
    pid: int
    started: str


def this_process() -> Name:
    """Our own name."""
    host = socket.gethostname()[:255]
    return Name(host, _machine(), os.getpid(), _started(os.getpid()) or "")


def is_gone(name: Name) -> bool:
    """Whether a process of this machine has ended; False where nobody here can know."""
    if name.machine != _machine():
        return False
    try:
        os.kill(name.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    found = _started(name.pid)
    return found is not None and found != name.started


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()[:100]  # a kernel that tells nothing of the kind


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; empty if it has ended and nobody has reaped it.

    None if the kernel does not show it to us.
    """
    try:
        # The second field is the program's name in parentheses, which may hold anything.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else fields[19]
