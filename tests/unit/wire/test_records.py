from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.wire import records
from sockstream.wire.digest import ZERO, extend
from sockstream.wire.errors import WireError
from sockstream.wire.limits import Limits
from sockstream.wire.records import (
    BEGIN,
    DELETE,
    END,
    INSERT,
    LOAD,
    SAVE,
    UPDATE,
    Batch,
    BatchBuilder,
    DecodedSegment,
    Layout,
    Segment,
    decode_header,
    digest_at,
    encode_header,
    encoded,
    segments,
    verify,
)

from .samples import QUESTION, TAG, batch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text() | st.binary()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
RECORDS = st.tuples(
    st.sampled_from([INSERT, UPDATE, DELETE, SAVE, BEGIN, LOAD, END]),
    st.sampled_from([QUESTION, TAG]),
    VALUES, VALUES, VALUES,
)  # fmt: skip


def flat(found: Sequence[DecodedSegment]) -> list[tuple[int, Layout, list[Any]]]:
    return [
        (op, part.layouts[index], values) for part in found for op, index, values in part.records
    ]


def made_of(
    part: bytes, *, header: bytes = b"", count: int = 1, layouts: tuple[Layout, ...] = (QUESTION,)
) -> Batch:
    """A batch of one segment whose digest is right, whatever its bytes are."""
    header = header or encode_header(layouts)
    segment = (Segment(count, len(part)),)
    return Batch(1, segment, False, header, part, ZERO, extend(ZERO, header, part))


def fitting(op: int, layout: Layout, values: Sequence[Any]) -> list[Any]:
    """As many values as a record of this kind has."""
    marks = {BEGIN: 0, LOAD: 0, END: 0, DELETE: len(layout.keys)}
    return list(values[: marks.get(op, len(layout.keys) + len(layout.others))])


def add_all(builder: BatchBuilder, records: Sequence[tuple[int, Layout, list[Any]]]) -> None:
    ops, layouts, values = zip(*records, strict=True)
    builder.add_all(ops, layouts, values, {layout: layout for layout in layouts})


def refused(bad: Batch) -> str:
    with pytest.raises(WireError) as caught:
        list(segments(bad))
    return caught.value.code


@given(st.lists(st.lists(RECORDS, min_size=1, max_size=4), min_size=1, max_size=4), st.booleans())
def test_what_was_added_comes_out(groups: list[list[Any]], open_: bool) -> None:
    builder = BatchBuilder(7, ZERO)
    expected = []
    for number, group in enumerate(groups, 1):
        for op, layout, *values in group:
            width = 0 if op >= BEGIN else 1 if op == DELETE or layout is TAG else 3
            builder.add(op, layout, values[:width])
            expected.append((op, layout, values[:width]))
        if number < len(groups) or not open_:
            builder.end_group()
    made = builder.build(open_)
    found = list(segments(made, Limits(depth=99)))
    assert flat(found) == expected
    assert [len(part.records) for part in found] == [len(group) for group in groups]
    assert [part.ends_group for part in found] == [True] * (len(groups) - 1) + [not open_]
    assert (made.first_seq, made.last_seq, made.count) == (7, 6 + len(expected), len(expected))


def test_segments_carry_their_numbers_and_digests() -> None:
    first, second = segments(made := batch(5, (2, 3)))
    assert (first.first_seq, first.last_seq, second.first_seq, second.last_seq) == (5, 6, 7, 9)
    part = made.data[: made.segments[0].size]
    assert first.digest_after == extend(ZERO, made.header, part)
    assert second.digest_after == made.digest_after
    assert digest_at(made, 4) == ZERO
    assert digest_at(made, 6) == first.digest_after
    assert digest_at(made, 9) == made.digest_after
    assert digest_at(made, 8) is digest_at(made, 10) is digest_at(made, 3) is None


def test_sizes_are_those_of_the_bytes() -> None:
    builder = BatchBuilder(1, ZERO)
    assert (builder.size, builder.count) == (0, 0)
    builder.add(INSERT, TAG, [1])
    assert (builder.size, builder.count) == (5, 1)
    builder.add(DELETE, QUESTION, [2])
    made = builder.build()
    assert made.data == bytes.fromhex("93010091 01 93030191 02".replace(" ", ""))
    assert made.size == len(made.header) + len(made.data)
    assert made.segments == (Segment(2, 10),)


def test_equal_layouts_share_one_place_in_the_header() -> None:
    builder = BatchBuilder(1, ZERO)
    for _ in range(3):
        builder.add(INSERT, Layout("polls.tag", ("id",), ()), [1])
    builder.add(INSERT, QUESTION, [1, "", None])
    assert decode_header(builder.build().header) == (TAG, QUESTION)


def test_an_end_without_records_makes_no_group() -> None:
    builder = BatchBuilder(1, ZERO)
    builder.end_group()
    builder.add(INSERT, TAG, [1])
    builder.end_group()
    builder.end_group()
    assert builder.build().segments == (Segment(1, 5),)


def test_a_batch_is_never_empty_and_an_open_one_ends_with_records() -> None:
    builder = BatchBuilder(1, ZERO)
    with pytest.raises(ValueError, match="holds records"):
        builder.build()
    builder.add(INSERT, TAG, [1])
    builder.end_group()
    with pytest.raises(ValueError, match="ends with records"):
        builder.build(open=True)


@pytest.mark.parametrize("value", [date(2026, 1, 1), Decimal(1), 1 << 64, "\ud800", object()])
def test_a_value_without_a_wire_form_is_refused_and_the_builder_goes_on(value: object) -> None:
    builder = BatchBuilder(10, ZERO)
    builder.add(INSERT, TAG, [1])
    with pytest.raises(WireError, match=r"polls\.tag") as caught:
        builder.add(INSERT, TAG, [value])
    assert (caught.value.code, caught.value.seq) == ("bad-record", 11)
    builder.add(INSERT, TAG, [2])
    assert [values for _, _, values in flat(list(segments(builder.build())))] == [[1], [2]]


@given(st.lists(RECORDS, min_size=1, max_size=9))
def test_many_at_once_are_the_same_as_one_by_one(drawn: list[Any]) -> None:
    records = [(op, layout, fitting(op, layout, values)) for op, layout, *values in drawn]
    one_by_one, at_once = BatchBuilder(1, ZERO), BatchBuilder(1, ZERO)
    for record in records:
        one_by_one.add(*record)
    add_all(at_once, records)
    assert (at_once.size, at_once.count) == (one_by_one.size, one_by_one.count)
    assert at_once.build() == one_by_one.build()


@pytest.mark.parametrize(
    ("values", "words"),
    [([object()], "cannot be encoded"), ([1 << 64], "cannot be encoded"), ([1, 2], "do not fit")],
)
def test_one_of_many_that_is_wrong_is_named(values: list[Any], words: str) -> None:
    builder = BatchBuilder(10, ZERO)
    with pytest.raises(WireError, match=words) as caught:
        add_all(builder, [(INSERT, TAG, [1]), (INSERT, TAG, values), (INSERT, TAG, [2])])
    assert (caught.value.code, caught.value.seq) == ("bad-record", 11)


@pytest.mark.parametrize(
    ("op", "values"), [(INSERT, [1]), (UPDATE, [1] * 4), (DELETE, [1] * 3), (SAVE, [1]), (END, [1])]
)
def test_values_that_do_not_fit_the_layout_are_refused(op: int, values: list[int]) -> None:
    with pytest.raises(WireError, match="do not fit"):
        BatchBuilder(1, ZERO).add(op, QUESTION, values)


def test_a_record_that_nobody_would_unpack_is_refused_when_it_is_numbered() -> None:
    builder = BatchBuilder(1, ZERO)
    builder.add(INSERT, TAG, [[0] * (1 << 20)])
    with pytest.raises(WireError) as caught:
        builder.build()
    assert caught.value.code == "record-too-large"


def test_a_large_text_is_no_trouble() -> None:
    builder = BatchBuilder(1, ZERO)
    builder.add(INSERT, TAG, ["x" * (3 << 20)])
    [part] = segments(builder.build())
    assert len(part.records[0][2][0]) == 3 << 20


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    made = batch(1, (2, 2))
    name = data.draw(st.sampled_from(["data", "header", "digest_before", "digest_after"]))
    value = bytearray(getattr(made, name))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    change: dict[str, Any] = {name: bytes(value)}
    changed = replace(made, **change)
    assert refused(changed) == "digest-mismatch"
    records.verify(made)
    with pytest.raises(WireError, match="not what was numbered"):
        records.verify(changed)


def test_a_wrong_digest_is_found_before_anything_is_handed_out() -> None:
    made = replace(batch(1, (2, 2)), digest_after=ZERO)
    with pytest.raises(WireError):
        next(segments(made))


@pytest.mark.parametrize(
    "change",
    [
        {"segments": ()},
        {"segments": (Segment(2, 7),)},
        {"segments": (Segment(1, 1_000_000),)},
        {"data": b""},
    ],
)
def test_segments_have_to_add_up(change: dict[str, Any]) -> None:
    assert refused(replace(batch(1, (2,)), **change)) == "bad-batch"


@pytest.mark.parametrize(
    "record",
    [
        [INSERT, 0, [1, "x"]],
        [INSERT, 0, [1, "x", None, None]],
        [DELETE, 0, [1, "x", None]],
        [INSERT, 1, [1, "x", None]],
        [INSERT, -1, [1, "x", None]],
        [0, 0, [1, "x", None]],
        [8, 0, [1, "x", None]],
        [BEGIN, 0, [1, "x", None]],
        [LOAD, 0, [1]],
        [END, 0, None],
        [BEGIN, 9, []],
        [True, 0, [1, "x", None]],
        [1.0, 0, [1, "x", None]],
        [INSERT, False, [1, "x", None]],
        [INSERT, 0, "abc"],
        [INSERT, 0, b"abc"],
        [INSERT, 0, {"a": 1, "b": 2, "c": 3}],
        [INSERT, 0, None],
        [INSERT, 0],
        [INSERT, 0, [1, "x", None], None],
        [[], 0, [1, "x", None]],
        [{}, 0, [1, "x", None]],
        "abc",
        {"a": 1, "b": 2, "c": 3},
        None,
        7,
    ],
)
def test_what_is_no_record_is_refused(record: object) -> None:
    assert refused(made_of(msgpack.packb(record))) == "bad-record"


def test_values_are_bounded_in_depth() -> None:
    deep: Any = 1
    for _ in range(14):
        deep = [deep]
    assert list(segments(made_of(msgpack.packb([INSERT, 0, [1, deep, None]]))))
    assert refused(made_of(msgpack.packb([INSERT, 0, [1, [deep], None]]))) == "bad-frame"


@pytest.mark.parametrize("value", [msgpack.Timestamp(1), msgpack.ExtType(5, b"x")])
def test_extensions_are_refused(value: object) -> None:
    assert refused(made_of(msgpack.packb([INSERT, 0, [1, value, None]]))) == "bad-frame"


@pytest.mark.parametrize("count", [1, 3])
def test_the_records_are_as_many_as_were_said(count: int) -> None:
    part = msgpack.packb([INSERT, 0, [1, "x", None]]) * 2
    assert refused(made_of(part, count=count)) == "bad-frame"


@pytest.mark.parametrize(
    "header",
    [
        [],
        {},
        "text",
        [["polls.tag", ["id"]]],
        [["polls.tag", ["id"], [], []]],
        [["", ["id"], []]],
        [["polls.tag", [], []]],
        [["polls.tag", ["id"], ["id"]]],
        [["polls.tag", ["id"], [""]]],
        [["polls.tag", ["id"], [1]]],
        [["polls.tag", ["id"], [["x"]]]],
        [["polls.tag", "id", []]],
        [["polls.tag", ["id"], "x"]],
        [[1, ["id"], []]],
        [None],
    ],
)
def test_what_is_no_header_is_refused(header: object) -> None:
    bad = made_of(msgpack.packb([INSERT, 0, [1]]), header=msgpack.packb(header))
    assert refused(bad) == "bad-batch"


def test_errors_name_the_segment() -> None:
    good = msgpack.packb([INSERT, 0, [1, "x", None]])
    bad = msgpack.packb([INSERT, 0, [1]])
    header = encode_header((QUESTION,))
    middle = extend(ZERO, header, good)
    made = Batch(
        10,
        (Segment(1, len(good)), Segment(1, len(bad))),
        False,
        header,
        good + bad,
        ZERO,
        extend(middle, header, bad),
    )
    found = segments(made)
    assert next(found).first_seq == 10
    with pytest.raises(WireError) as caught:
        next(found)
    assert (caught.value.code, caught.value.seq) == ("bad-record", 11)


@pytest.mark.parametrize(
    "changes",
    [{"segments": ()}, {"data": b""}, {"segments": (Segment(2, 5),)}, {"codec": "zlib"}],
    ids=str,
)
def test_bytes_that_are_not_those_of_the_segments(changes: dict[str, Any]) -> None:
    """A damaged row of an oplog, for instance: it is named by its number."""
    made = replace(batch(7, (2,)), **changes)
    for look in (verify, encoded):
        with pytest.raises(WireError) as caught:
            look(made)
        assert (caught.value.code, caught.value.seq) == ("bad-batch", 7)


@pytest.mark.parametrize("long", [0, 1, 2])
def test_a_name_in_a_header_is_bounded(long: int) -> None:
    for length, fits in ((255, True), (256, False), (1 << 20, False)):
        names = ["a.b", "id", "text"]
        names[long] = names[long] * length
        label, key, other = (name[:length] for name in names)
        header = encode_header((Layout(label, (key,), (other,)),))
        made = made_of(msgpack.packb([INSERT, 0, [1, "t"]]), header=header)
        if fits:
            assert list(segments(made))
        else:
            assert refused(made) == "bad-batch"


@pytest.mark.parametrize("used", [(0,), (1,), (0, 0, 0), (2, 0), (2, 0, 2, 0)])
def test_a_layout_that_no_record_uses_is_refused(used: tuple[int, ...]) -> None:
    layouts = (QUESTION, TAG, Layout("polls.choice", ("id",), ()))
    part = b"".join(msgpack.packb([DELETE, index, [n]]) for n, index in enumerate(used))
    made = made_of(part, count=len(used), layouts=layouts)
    with pytest.raises(WireError, match=r"a layout of polls\.\w+ that no record uses") as caught:
        encoded(made)
    assert (caught.value.code, caught.value.seq) == ("bad-batch", 1)


def test_all_layouts_may_be_used_by_the_last_records() -> None:
    layouts = tuple(Layout(f"a.m{number}", ("id",), ()) for number in range(300))
    used = [*(0 for _ in range(1000)), *reversed(range(300))]
    groups = [used[:900], used[900:]]
    builder = BatchBuilder(1, ZERO)
    for group in groups:
        for index in group:
            builder.add(DELETE, layouts[index], [1])
        builder.end_group()
    assert len(list(segments(builder.build()))) == 2


@pytest.mark.parametrize("bad", [b"\xc1", b"\x92\x01\x00", b"\x93\x01\x91\x00\x90", b"\x93\x01"])
def test_records_that_are_none_use_no_layout(bad: bytes) -> None:
    assert refused(made_of(bad * 3, count=3, layouts=(QUESTION, TAG))) == "bad-batch"


@pytest.mark.parametrize("at_once", [False, True])
def test_what_was_not_added_leaves_no_layout(at_once: bool) -> None:
    """A sender that goes on after a bad record writes a header that central takes."""
    builder = BatchBuilder(1, ZERO)
    builder.add(DELETE, QUESTION, [1])
    for values in ([object()], [1, 2, 3], [1 << 80]):
        bad = [(INSERT, TAG, values)]
        add = partial(add_all, builder, bad) if at_once else partial(builder.add, *bad[0])
        with pytest.raises(WireError, match=r"polls\.tag"):
            add()
    other = Layout("polls.other", ("id",), ())
    builder.add_all([INSERT], [2], [[9]], {1: TAG, 2: other})
    made = builder.build()
    assert decode_header(made.header) == (QUESTION, other)
    assert flat(list(segments(made)))[-1] == (INSERT, other, [9])


def test_digests_chain_across_batches() -> None:
    first = batch(1, (2,))
    second = batch(3, (1,), digest=first.digest_after)
    assert second.digest_before == first.digest_after
    whole = [first.digest_after, second.digest_after]
    for before, after in itertools.pairwise([ZERO, *whole]):
        assert before != after
