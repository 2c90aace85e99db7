"""A small file system of its own, which can be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REFUSED = "only root may mount a small file system to fill, and not everywhere"


class Disk:
    """A file system in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave no room, not for one byte."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def make_room(self) -> None:
        """Take the filler away."""
        self._filler.unlink()


@contextmanager
def mounted(size: str) -> Iterator[Disk | None]:
    """A disk of this size, such as `8m`; None if none may be mounted here."""
    folder = Path(tempfile.mkdtemp(prefix="sockstream-disk-"))
    options = "-t", "tmpfs", "-o", f"size={size}", "tmpfs"
    is_there = os.geteuid() == 0 and not _run("mount", *options, folder)
    try:
        yield Disk(folder) if is_there else None
    finally:
        if is_there:
            assert _run("umount", "--lazy", folder) == 0
        shutil.rmtree(folder)


def _run(*command: str | Path) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
