"""docs/guarantees.md: every fault has a test that is there, or says that it has none yet."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FAULT = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
PROMISE = re.compile(r"^\*\*(\d+)\. .+?\*\*(.+?)(?=^\*\*|^## )", re.MULTILINE | re.DOTALL)
UNTESTED = "not yet tested"


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the test functions of a module, without importing it."""
    functions = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef))
    return frozenset(f.name for f in functions if f.name.startswith("test_"))


@pytest.mark.parametrize("named", sorted(set(TEST.findall(PAGE))), ids="::".join)
def test_what_is_named_is_there(named: tuple[str, str]) -> None:
    path, name = named
    assert (ROOT / path).is_file()
    assert name in names_in(ROOT / path)


def test_every_fault_has_a_test_or_says_that_it_has_none() -> None:
    rows = FAULT.findall(PAGE)
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 73
    for number, _, _, tests in rows:
        assert bool(TEST.search(tests)) != (UNTESTED in tests), number


def test_every_promise_has_tests() -> None:
    promises = PROMISE.findall(PAGE)
    assert [int(number) for number, _ in promises] == list(range(1, len(promises) + 1))
    assert len(promises) >= 10
    for number, words in promises:
        assert TEST.search(words), number


def test_nothing_that_looks_like_a_test_escapes() -> None:
    """A name that the pattern does not match would not be looked at."""
    assert len(re.findall(r"tests/[^`\s]*::", PAGE)) == len(TEST.findall(PAGE))
