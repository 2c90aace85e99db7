"""Another checkout, measured by the programs of this one.

Its folder is laid out once more as links, with this checkout's `benchmarks` in the place of its
own: what runs there imports its `sockstream`, its settings and its tests' tools.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_OURS = "benchmarks"


def overlay(other: Path, folder: Path) -> Path:
    """Lay out `other` in `folder`, which is empty; where programs are to run.

    Raises FileNotFoundError if there is no sockstream.
    """
    if not (other / "sockstream" / "__init__.py").exists():
        raise FileNotFoundError(f"{other} is no checkout of sockstream")
    for entry in other.resolve().iterdir():
        if entry.name != _OURS and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    (folder / _OURS).symlink_to(ROOT / _OURS)
    return folder
