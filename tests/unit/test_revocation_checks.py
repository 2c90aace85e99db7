"""What Django's checks say about lists of revoked certificates, at both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import checks as django_checks
from django.core.checks import CheckMessage
from django.test import override_settings

import sockstream.receiver.checks
import sockstream.sender.checks
from tests.unit.chains import Level
from tests.unit.trust import NOW

ROOT = Path(__file__).parents[2]
YESTERDAY = NOW - timedelta(days=1)

Lists = Callable[[Level, Level], bytes | None]
# By the lists: what central says, and what a site does.
CASES: dict[str, tuple[Lists, list[str], list[str]]] = {
    "all": (lambda root, sub: root.revokes() + sub.revokes(7), [], []),
    "none": (lambda root, sub: None, ["W103"], []),
    "the root's only": (lambda root, sub: root.revokes(), ["W103"], ["W010"]),
    "an old one": (
        lambda root, sub: root.revokes(until=YESTERDAY) + sub.revokes(),
        ["W104"],
        ["W010"],
    ),
    "another's": (lambda root, sub: Level.root("Other").revokes(), ["W103"] * 2, ["W010"] * 2),
    "another key's": (lambda root, sub: Level.root().revokes(), ["W105"], ["W010"]),
    "nonsense": (lambda root, sub: b"nonsense", ["W105"], ["W010"]),
}


def ids(messages: Iterable[CheckMessage]) -> list[str]:
    found = list(messages)
    assert all(message.level == django_checks.WARNING and message.hint for message in found)
    return [str(message.id).removeprefix("sockstream.") for message in found]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_a_list(tmp_path: Path, case: str, named: bool) -> None:
    lists, central, site = CASES[case]
    root = Level.root()
    sub = root.below("Issuing")
    ca, crl = tmp_path / "ca.crt", tmp_path / ("lists.pem" if named else "crl.pem")
    ca.write_bytes(root.pem + sub.pem)
    content = lists(root, sub)
    if content is not None:
        crl.write_bytes(content)
    given = {"CA": str(ca)} | ({"CRL": str(crl)} if named else {})
    with override_settings(SOCKSTREAM=given):
        found = ids(sockstream.receiver.checks.check_revocations())
        assert found == (["W105"] if named and content is None else central)
        found = ids(sockstream.sender.checks.check_revocations())
        assert found == (["W010"] if named and content is None else site)


@pytest.mark.parametrize("given", [{}, {"CA": "nowhere/ca.crt"}, {"NO": 1}], ids=str)
def test_without_an_authority_there_is_nothing_to_say(given: dict[str, object]) -> None:
    with override_settings(SOCKSTREAM=given):
        assert ids(sockstream.receiver.checks.check_revocations()) == []
        assert ids(sockstream.sender.checks.check_revocations()) == []


def test_manage_py_check_runs_both() -> None:
    registered: list[object] = [*django_checks.registry.registry.get_checks()]
    assert sockstream.receiver.checks.check_revocations in registered
    assert sockstream.sender.checks.check_revocations in registered


def test_every_id_is_documented() -> None:
    page = (ROOT / "docs" / "checks.md").read_text()
    for number in sockstream.receiver.checks._REVOCATIONS.values():
        assert f"| `sockstream.{number}` |" in page
