"""docs/protocol.md says what the code does, byte for byte."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from sockstream.wire import bounded, elements, messages
from sockstream.wire.digest import ZERO
from sockstream.wire.errors import CODES
from sockstream.wire.limits import Limits
from sockstream.wire.messages import Records, pack, unpack
from sockstream.wire.records import (
    MAX_RECORDS,
    MAX_SEGMENTS,
    BatchBuilder,
    Layout,
    decode_header,
    digest_at,
    segments,
)
from sockstream.wire.session import AT_CENTRAL, AT_THE_SITE, State, Table

from .protocol_page import KINDS, PATH, Page, literal

PAGE = Page(PATH.read_text())
TYPES = {
    "count": elements.Count,
    "positive": elements.Positive,
    "flag": elements.Flag,
    "seconds": elements.Seconds,
    "interval": elements.Interval,
    "text": elements.Text,
    "texts": elements.Texts,
    "octets": elements.Octets,
    "octets16": elements.Octets16,
    "octets16 or none": elements.Octets16OrNone,
    "tag": elements.Tag,
    "segments": elements.Segments,
}

each_message = pytest.mark.parametrize("name", KINDS)


def records() -> Records:
    found = PAGE.example("records")
    assert isinstance(found, Records)
    return found


@each_message
def test_every_message_has_its_number_and_its_elements(name: str) -> None:
    kind: Any = KINDS[name]
    declared = messages._RecordElements if kind is Records else kind
    assert messages._KINDS[PAGE.numbers[name]] is kind
    assert [row[1] for row in PAGE.tables[name]] == [field.name for field in fields(declared)]
    assert [int(row[0]) for row in PAGE.tables[name]] == [*range(1, len(fields(declared)) + 1)]


@each_message
def test_every_element_is_of_the_type_that_is_said(name: str) -> None:
    checks = [TYPES[row[2]].__metadata__[0] for row in PAGE.tables[name]]  # type: ignore[attr-defined]
    assert tuple(checks) == messages._CHECKS[KINDS[name]]


@each_message
def test_every_vector_is_what_is_sent(name: str) -> None:
    assert pack(PAGE.example(name)).hex(" ") == PAGE.frame(name).hex(" ")


@each_message
def test_every_vector_is_understood(name: str) -> None:
    frame = PAGE.frame(name)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    assert unpack(frame[4:]) == PAGE.example(name)


def test_every_type_of_element_is_explained() -> None:
    explained = {row[0] for row in PAGE.rows("Messages", 3)}
    assert set(TYPES) <= explained


def test_the_batch_is_the_one_that_is_shown() -> None:
    batch = records().batch
    layouts: tuple[Layout, ...] = ()
    groups: list[list[Any]] = []
    for line in PAGE.blocks["batch"].splitlines():
        name, value = line.split(None, 1)
        if name == "header":
            layouts = tuple(
                Layout(label, tuple(keys), tuple(others)) for label, keys, others in literal(value)
            )
        elif name == "segment":
            groups.append([])
        else:
            assert int(name) == sum(map(len, groups)) + 1
            groups[-1].append(literal(value))
    assert decode_header(batch.header) == layouts
    assert [part.records for part in segments(batch)] == groups
    builder = BatchBuilder(1, ZERO)
    for group in groups:
        for op, index, values in group:
            builder.add(op, layouts[index], values)
        builder.end_group()
    assert builder.build() == batch


def test_the_compressed_batch_is_the_same() -> None:
    found = unpack(PAGE.frame("compressed")[4:])
    assert isinstance(found, Records)
    plain = replace(found.batch, data=found.batch.raw(), codec="")
    assert Records(plain, found.codec) == Records(records().batch, "zlib")


def test_the_digests_are_those_of_the_batch() -> None:
    for seq, shown in PAGE.rows("Digests and positions", 2):
        assert digest_at(records().batch, int(seq)) == literal(shown.strip("`"))


def test_the_examples_tell_one_story() -> None:
    hello, ack = PAGE.example("hello"), PAGE.example("ack")
    assert isinstance(hello, messages.Hello)
    assert isinstance(ack, messages.Ack)
    assert hello.digest == ack.digest == records().batch.digest_after
    assert ack.credit == Limits().window + records().batch.size


def test_every_code_is_listed_with_its_class() -> None:
    rows = PAGE.rows("Errors", 3)
    assert {code.strip("`"): class_ for code, class_, _ in rows} == CODES


@pytest.mark.parametrize(("end", "table"), [("site", AT_THE_SITE), ("central", AT_CENTRAL)])
def test_the_states_are_those_of_the_tables(end: str, table: Table) -> None:
    part = PAGE.text.split("\n## States\n")[1].split("\n| central |")[end == "central"]
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if ": " in line]
    shown = {State(name.split(":")[0]): set(kinds.split(", ")) for name, kinds in rows[:7]}
    shown = {state: kinds for state, kinds in shown.items() if state in table}
    assert shown == {
        state: {kind.__name__.lower() for kind in kinds} for state, kinds in table.items()
    }


def test_the_limits_are_the_defaults() -> None:
    limits = Limits()
    expected = {
        "frame": limits.frame,
        "first frame": limits.first_frame,
        "window": limits.window,
        "heartbeat": limits.heartbeat,
        "silence": limits.silence,
        "handshake": limits.handshake,
        "drain": limits.drain,
        "depth": limits.depth,
        "elements": limits.elements,
        "width": bounded.WIDTH,
        "segments": MAX_SEGMENTS,
        "records": MAX_RECORDS,
    }
    shown = {name: float(value.split()[0]) for name, value, _ in PAGE.rows("Limits", 3)}
    assert shown == expected


def test_every_example_of_a_wire_value_is_one() -> None:
    layout = Layout("a.b", ("id",), ())
    for _, _, shown in PAGE.rows("Wire values", 3):
        value = literal(shown.strip("`"))
        builder = BatchBuilder(1, ZERO)
        builder.add(1, layout, [value])
        [part] = segments(builder.build())
        assert part.records == [[1, 0, [value]]]
