"""What was measured, kept from one run to the next."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Results:
    """What each program found, in a file of its own in `folder`, and at which commit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commit = _commit()
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, found: Any) -> None:
        """Keep what a program found, in place of what it did before; nothing if it failed."""
        path = self._folder / f"{name}.json"
        path.unlink(missing_ok=True)
        if found:
            at = f"{datetime.now(UTC):%Y-%m-%d}"
            path.write_text(json.dumps({"at": at, "commit": self._commit, "found": found}))

    def get(self, names: Iterable[str]) -> dict[str, Any]:
        """What was found by those of these programs that have been run."""
        return {name: each["found"] for name, each in self._kept(names).items()}

    def older(self, names: Iterable[str]) -> str:
        """In words, what was measured at another commit than this one; "" if nothing was."""
        found = defaultdict(list)
        for name, each in self._kept(names).items():
            if each["commit"] != self._commit:
                found[f"at {each['commit']} on {each['at']}"].append(name)
        return "; ".join(f"{', '.join(names)} {when}" for when, names in found.items())

    def _kept(self, names: Iterable[str]) -> dict[str, Any]:
        paths = {name: self._folder / f"{name}.json" for name in names}
        return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, check=False, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "an unknown commit"
