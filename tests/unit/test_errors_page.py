"""Every error code stands in the reference."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from sockstream.wire.errors import CODES

ROOT = Path(__file__).parents[2]
PAGES = ("errors.md", "protocol.md", "certificates.md")
RAISED = {"SockstreamError", "WireError"}


def codes_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            first = node.args[0]
            if name in RAISED and isinstance(first, ast.Constant):
                yield str(first.value)


def test_every_code_is_documented() -> None:
    documented: set[str] = set()
    for page in PAGES:
        documented |= set(
            re.findall(r"^\|.*?`([a-z-]+)`", (ROOT / "docs" / page).read_text(), re.M)
        )
    raised = {code for path in (ROOT / "sockstream").rglob("*.py") for code in codes_in(path)}
    assert len(raised) > 30, "the search for codes finds nothing any more"
    assert sorted((raised | set(CODES)) - documented) == []
