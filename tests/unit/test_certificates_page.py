"""docs/certificates.md: its commands print what it says, and it names every code."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from sockstream import cli
from sockstream.tls import words

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "certificates.md").read_text()
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^\| `([a-z-]+)` \| \S", re.MULTILINE)
RAISED = re.compile(r'"((?:auth|crl|tls)-[a-z-]+)"')


def unvarying(text: str) -> str:
    """The text without days, serial numbers, and the spaces that depend on these."""
    text = re.sub(r"\d{4}-\d\d-\d\d", "DAY", text)
    text = re.sub(r"\b[0-9a-f]{20,40}\b", "SERIAL", text)
    return re.sub(r" {2,}", "  ", text)


def test_the_commands_print_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = "".join(CONSOLE.findall(PAGE))
    parts = re.split(r"^\$ sockstream (.*)\n", blocks, flags=re.MULTILINE)[1:]
    commands = list(pairwise(parts))[::2]
    assert len(commands) == 7
    for command, output in commands:
        assert cli.main(shlex.split(command)) == 0
        assert unvarying(capsys.readouterr().out) == unvarying(output)


def test_every_code_is_on_the_page_and_no_other() -> None:
    tables = (words.AT_SITE, words.AT_CENTRAL, words.AT_BOTH)
    codes = {code for table in tables for code in table} | {"config"}
    for path in [*(ROOT / "sockstream").glob("tls/*.py"), ROOT / "sockstream/certs/revocation.py"]:
        codes.update(RAISED.findall(path.read_text()))
    assert sorted(CODE.findall(PAGE)) == sorted(codes)
