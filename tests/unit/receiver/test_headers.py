"""Compiled headers: kept by their bytes, shared, and bounded by what they take."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from sockstream.conf import Settings
from sockstream.exceptions import Refusal
from sockstream.receiver.applying.parts import Headers, allowed_models
from sockstream.rows import describe
from sockstream.wire.errors import WireError
from sockstream.wire.records import INSERT, Layout, encode_header
from tests.zoo.models import Everything, Slot

ALLOWED = allowed_models(Settings(MODELS=("zoo",)))
MIB = 1 << 20


def layout(model: Any, *, fields: int = 1_000) -> Layout:
    row = describe(model)
    return Layout(row.label, row.key_names, tuple(column.name for column in row.others[:fields]))


def test_a_header_is_compiled_once() -> None:
    headers = Headers(ALLOWED, "central_sqlite")
    one = encode_header((layout(Slot), layout(Everything)))
    found = headers.get(one)
    assert headers.get(bytes(one)) is found
    assert found.plan(1) is headers.get(one).plan(1)
    assert found.widths[INSERT, 0] == 3


def test_what_was_used_last_is_kept() -> None:
    often = encode_header((layout(Slot),))
    headers = Headers(ALLOWED, "central_sqlite", most=20 * Headers(ALLOWED, "").get(often).weight)
    found = headers.get(often)
    for number in range(1_000):
        headers.get(encode_header((Layout(f"a.m{number}", ("id",), ()),)))
        assert headers.get(often) is found
    assert 10 < len(headers._known) <= 20


def test_one_that_is_heavier_than_all_may_be_is_not_kept() -> None:
    headers = Headers(ALLOWED, "central_sqlite")
    wide = encode_header(tuple(Layout(f"a.m{number}", ("id",), ()) for number in range(4_000)))
    assert len(headers.get(wide).layouts) == 4_000
    assert not headers._known
    assert headers._weight == 0


def test_a_bad_header_is_not_kept() -> None:
    headers = Headers(ALLOWED, "central_sqlite")
    with pytest.raises(WireError):
        headers.get(b"\x90")
    assert not headers._known


@pytest.mark.parametrize("kind", ["foreign layouts", "narrow plans", "wide plans", "many names"])
def test_they_take_what_they_are_counted_for(kind: str) -> None:
    """However the headers are made: the process does not grow by more than the bound."""

    def made(number: int) -> bytes:
        tail = f"{number:06}"
        if kind == "foreign layouts":
            return encode_header(tuple(Layout(f"a.m{n}{tail}", ("id",), ()) for n in range(200)))
        if kind == "many names":
            return encode_header(
                (Layout(f"a.{tail}", ("id",), tuple(f"f{n}" for n in range(4_000))),)
            )
        model, fields = (Slot, 1) if kind == "narrow plans" else (Everything, 1_000)
        rest = (Layout(f"a.{tail}", ("id",), ()),)
        return encode_header((*[layout(model, fields=fields)] * 20, *rest))

    headers = Headers(ALLOWED, "central_sqlite", most=2 * MIB)
    compiled(headers, made(0))
    tracemalloc.start()
    try:
        for number in range(80):
            compiled(headers, made(number))
        assert tracemalloc.get_traced_memory()[0] < 2 * MIB
    finally:
        tracemalloc.stop()


def compiled(headers: Headers, header: bytes) -> None:
    """With all that records of each kind make of it."""
    found = headers.get(header)
    for index, each in enumerate(found.layouts):
        for op in range(1, 8):
            found.widths[op, index]
        if each.label in ALLOWED:
            found.plan(index)
        else:
            with pytest.raises(Refusal):
                found.plan(index)
