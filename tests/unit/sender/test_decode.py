"""Captured texts become wire values, by the layout's definition alone."""

from __future__ import annotations

import json
import math
import random
import struct
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.exceptions import SockstreamError
from sockstream.rows import Kind
from sockstream.sender.capture import decode
from sockstream.sender.capture.decode import Missing

VENDORS = ("sqlite", "postgresql", "mysql", "python")


def _definition(*columns: dict[str, Any], **changes: Any) -> dict[str, Any]:
    named = [{"name": f"f{number}", **column} for number, column in enumerate(columns)]
    return {
        "version": 1,
        "model": "shop.thing",
        "vendor": "sqlite",
        "zone": "UTC",
        "keys": 1,
        "columns": named,
        "pk": False,
        "wide": False,
        **changes,
    }


def _read(kind: str, captured: Any, vendor: str = "sqlite", **more: Any) -> Any:
    zone = more.pop("zone", "UTC")
    definition = _definition({"kind": kind, **more}, vendor=vendor, zone=zone)
    [value] = decode.compile(definition).values("I", json.dumps([captured]))
    return value


@pytest.mark.parametrize(
    ("kind", "vendor", "captured", "value"),
    [
        ("int", "sqlite", 2**63 - 1, 2**63 - 1),
        ("int", "sqlite", "abc", "abc"),
        ("bool", "sqlite", 1, True),
        ("bool", "mysql", 0, False),
        ("bool", "postgresql", True, True),
        ("bool", "sqlite", 7, "7"),
        ("bool", "sqlite", "x", "x"),
        ("float", "sqlite", "1.00000000000000005551e-01", 0.1),
        ("float", "sqlite", "Inf", math.inf),
        ("float", "sqlite", "-Inf", -math.inf),
        ("float", "sqlite", 3, 3.0),
        ("float", "sqlite", "abc", "abc"),
        ("float", "postgresql", "3fb999999999999a", 0.1),
        ("float", "postgresql", "fff0000000000000", -math.inf),
        ("float", "postgresql", "what", "what"),
        ("decimal", "postgresql", "1.5000", "1.5000"),
        ("decimal", "mysql", "1.5000", "1.5000"),
        ("decimal", "sqlite", "1.5e+00", "1.5000"),
        ("decimal", "sqlite", 3, "3.0000"),
        ("decimal", "sqlite", -1234567890123456789, "-1234567890123456789.0000"),
        ("decimal", "sqlite", "0.00000000000000000000e+00", "0.0000"),
        ("decimal", "sqlite", "Inf", "Inf"),
        ("decimal", "sqlite", "abc", "abc"),
        ("text", "sqlite", "é😀", "é😀"),
        ("date", "sqlite", "2024-02-29", "2024-02-29"),
        ("date", "sqlite", "2024-2-9", "2024-02-09"),
        ("date", "sqlite", "someday", "someday"),
        ("date", "sqlite", 12, "12"),
        ("time", "sqlite", "12:00:00", "12:00:00"),
        ("time", "sqlite", "12:00:00.000001", "12:00:00.000001"),
        ("time", "postgresql", "12:00:00.12", "12:00:00.120000"),
        ("time", "mysql", "12:00:00.000000", "12:00:00"),
        ("time", "mysql", "-838:59:59", "-838:59:59"),
        ("datetime", "sqlite", "2024-02-29 12:00:00", "2024-02-29 12:00:00"),
        ("datetime", "postgresql", "2024-02-29T12:00:00.5", "2024-02-29 12:00:00.500000"),
        ("datetime", "mysql", "2024-02-29 12:00:00.000000", "2024-02-29 12:00:00"),
        ("datetime", "mysql", "0000-00-00 00:00:00", "0000-00-00 00:00:00"),
        ("instant", "sqlite", "2024-02-29 12:00:00", "2024-02-29 12:00:00Z"),
        ("instant", "sqlite", "2024-02-29 12:00:00.000001", "2024-02-29 12:00:00.000001Z"),
        ("instant", "sqlite", "2024-02-29T12:00:00+05:45", "2024-02-29 06:15:00Z"),
        ("instant", "sqlite", "2024-02-29 12:00", "2024-02-29 12:00:00Z"),
        ("instant", "postgresql", "infinity", "infinity"),
        ("instant", "postgresql", "0044-03-15T00:00:00 BC", "0044-03-15T00:00:00 BC"),
        ("instant", "sqlite", 12, "12"),
        ("duration", "sqlite", -1, -1),
        ("duration", "mysql", "x", "x"),
        ("uuid", "sqlite", "00" * 15 + "ff", bytes(15) + b"\xff"),
        ("uuid", "postgresql", "00000000-0000-0000-0000-0000000000ff", bytes(15) + b"\xff"),
        ("uuid", "sqlite", "abc", "abc"),
        ("uuid", "sqlite", "abcd", "abcd"),
        ("uuid", "sqlite", 12, "12"),
        ("json", "sqlite", '{"a": 1}', '{"a": 1}'),
        ("json", "sqlite", "null", "null"),
        ("binary", "sqlite", "00ff", b"\x00\xff"),
        ("binary", "sqlite", "", b""),
        ("binary", "sqlite", "xyz", "xyz"),
        ("hstore", "postgresql", {"a": None}, {"a": None}),
        ("range", "postgresql", "[1,5)", "[1,5)"),
        ("raw", "sqlite", 1, "1"),
        ("any", "sqlite", 1, 1),
        ("any", "sqlite", "t", ""),
        ("any", "sqlite", "t1", "1"),
        ("any", "sqlite", "r1.25e+01", 12.5),
        ("any", "sqlite", "rInf", math.inf),
        ("any", "sqlite", "b00FF", b"\x00\xff"),
        ("text", "sqlite", ["00FF"], b"\x00\xff"),
        ("text", "sqlite", '["00FF"]', '["00FF"]'),
        ("raw", "postgresql", "'a':1", "'a':1"),
    ],
)
def test_a_value(kind: str, vendor: str, captured: Any, value: Any) -> None:
    found = _read(kind, captured, vendor, places=4)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "kind", [kind.value for kind in Kind if kind not in {Kind.ARRAY, Kind.REFERENCE}]
)
def test_nothing_raises_and_null_stays_null(kind: str, vendor: str) -> None:
    odd: tuple[Any, ...] = ("", "?", "\ud800", "9" * 400, "1e999", 0, -1, 10**400, True)
    for value in (*odd, [], [1], {}, {"a": []}):
        _read(kind, value, vendor, places=2)
    assert _read(kind, None, vendor, places=2) is None


def test_a_time_zone_of_the_database() -> None:
    assert _read("instant", "2024-07-01 12:00:00", zone="Europe/Berlin") == "2024-07-01 10:00:00Z"
    assert _read("instant", "0001-01-01 00:00:00", zone="Asia/Tokyo") == "0001-01-01 00:00:00"


@pytest.mark.parametrize(
    ("micros", "days", "months", "expected"),
    [
        (0, 0, 0, 0),
        (-1, 0, 0, -1),
        (5, -10, 0, 5 - 10 * 86_400_000_000),
        (0, 0, 14, (365 + 60) * 86_400_000_000),
        (0, 0, -14, -(365 + 60) * 86_400_000_000),
    ],
)
def test_an_interval_of_postgresql(micros: int, days: int, months: int, expected: int) -> None:
    captured = struct.pack(">qii", micros, days, months).hex()
    assert _read("duration", captured, "postgresql") == expected


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 2**31 - 1), "2147483647 mons 0 days 0.000000 secs"),
        ((-1_500_000, 3, -(2**31) + 1), "-2147483647 mons 3 days -1.500000 secs"),
        ((2**63 - 1, 2**31 - 1, 2**31 - 1), "infinity"),
        ((-(2**63), -(2**31), -(2**31)), "-infinity"),
    ],
)
def test_an_interval_that_no_integer_holds_travels_as_a_text(
    parts: tuple[int, int, int], text: str
) -> None:
    assert _read("duration", struct.pack(">qii", *parts).hex(), "postgresql") == text


def test_what_is_no_interval_travels_as_it_is() -> None:
    assert _read("duration", "00", "postgresql") == "00"


@pytest.mark.parametrize(
    ("base", "captured", "value"),
    [
        ({"kind": "int"}, [1, None, [2]], [1, None, [2]]),
        ({"kind": "float"}, [0.5, "Infinity", "NaN"], [0.5, math.inf, math.nan]),
        ({"kind": "decimal", "places": 2}, ["1.50"], ["1.50"]),
        ({"kind": "uuid"}, ["00000000-0000-0000-0000-000000000001"], [bytes(15) + b"\x01"]),
        ({"kind": "binary"}, ["\\x00ff", "\\x", "odd"], [b"\x00\xff", b"", "odd"]),
        ({"kind": "duration"}, ["1 day 00:00:01", "1 year"], [86_401_000_000, "1 year"]),
        ({"kind": "instant"}, ["2024-02-29T12:00:00.5+02:00"], ["2024-02-29 10:00:00.500000Z"]),
        ({"kind": "array", "base": {"kind": "bool"}}, [[True], []], [[True], []]),
        ({"kind": "json"}, ['{"a": 1}', None], ['{"a": 1}', None]),
    ],
)
def test_an_array_of_postgresql(base: dict[str, Any], captured: Any, value: Any) -> None:
    assert repr(_read("array", captured, "postgresql", base=base)) == repr(value)


def test_floats_and_decimals_of_sqlite_are_as_django_reads_them() -> None:
    chance = random.Random(7)
    for _ in range(5_000):
        number = chance.choice(
            [
                chance.uniform(-1e4, 1e4),
                round(chance.uniform(-1e9, 1e9), chance.randint(0, 12)),
                chance.uniform(-1, 1) * 10 ** chance.randint(-20, 14),
            ]
        )
        places = chance.randint(0, 10)
        as_django = Context(prec=15).create_decimal_from_float(number)
        expected = as_django.quantize(Decimal(1).scaleb(-places), context=Context(prec=500))
        captured = f"{number:.20e}"
        assert Decimal(_read("decimal", captured, places=places)) == expected
        assert _read("float", captured) == number


AUTHOR = {"kind": "reference", "target": "shop.author", "parts": [{"name": "id", "kind": "uuid"}]}
PERMISSION = {
    "kind": "reference",
    "target": "auth.permission",
    "parts": [
        {
            "name": "content_type",
            "kind": "reference",
            "target": "contenttypes.contenttype",
            "parts": [{"name": "app_label", "kind": "text"}, {"name": "model", "kind": "text"}],
        },
        {"name": "codename", "kind": "text"},
    ],
}


def test_references() -> None:
    definition = _definition({"kind": "int"}, AUTHOR, PERMISSION, AUTHOR, pk=True)
    decoder = decode.compile(definition)
    data = json.dumps([1, "ab" * 16, [["shop", "thing"], "add"], None, 7, 8, None, 99])
    values = decoder.values("I", data)
    assert values == [1, b"\xab" * 16, [["shop", "thing"], "add"], None]
    assert not decoder.unresolved("I", values)
    assert decoder.points
    assert decoder.local_pk("I", data) == 99


def test_a_reference_that_was_not_found() -> None:
    decoder = decode.compile(_definition({"kind": "int"}, AUTHOR))
    values = decoder.values("U", json.dumps([1, None, 7]))
    assert values == [1, Missing("f1", "shop.author", 7)]
    assert decoder.unresolved("U", values)


def test_a_delete_has_the_keys_part_only() -> None:
    decoder = decode.compile(_definition(AUTHOR, {"kind": "uuid"}, {"kind": "text"}, keys=2))
    assert decoder.key_names == ("f0", "f1")
    assert decoder.other_names == ("f2",)
    values = decoder.values("D", json.dumps([None, "00" * 16, 5]))
    assert values == [Missing("f0", "shop.author", 5), bytes(16)]
    assert decoder.unresolved("D", values)
    assert not decoder.unresolved("D", decoder.values("D", json.dumps(["00" * 16, "00" * 16, 5])))


def test_a_wide_row_comes_in_pieces_but_its_delete_does_not() -> None:
    decoder = decode.compile(_definition(*[{"kind": "int"}] * 5, wide=True))
    assert decoder.values("I", "[[1,2],[3,4],[5]]") == [1, 2, 3, 4, 5]
    assert decoder.values("D", "[1]") == [1]


@pytest.mark.parametrize("data", ["", "[", "{}", "5", "null", "[]"])
def test_a_text_that_no_trigger_wrote_is_told(data: str) -> None:
    decoder = decode.compile(_definition({"kind": "uuid"}, AUTHOR))
    with pytest.raises(SockstreamError, match=r"shop\.thing cannot be read") as caught:
        decoder.values("I", data)
    assert caught.value.code == "capture-spoilt"


UUIDS = st.uuids().flatmap(lambda u: st.sampled_from([u.hex, str(u), str(u).upper()]))
ODD = st.text("-0aZ", min_size=32, max_size=36) | st.sampled_from(["", "-" * 36, 5, True, "x"])
ROWS = st.lists(
    st.tuples(
        st.integers() | st.none(),
        st.one_of(UUIDS, UUIDS, UUIDS, ODD, st.none()),
        UUIDS | st.none(),
        st.none() | st.integers(0, 9),
    ),
    min_size=1,
    max_size=6,
)


@given(rows=ROWS, op=st.sampled_from("IUDS"), wide=st.booleans(), pk=st.booleans())
def test_many_rows_are_read_as_each_of_them(
    rows: list[tuple[Any, ...]], op: str, wide: bool, pk: bool
) -> None:
    columns = {"kind": "int"}, {"kind": "uuid"}, AUTHOR
    decoder = decode.compile(_definition(*columns, keys=3, wide=wide, pk=pk))
    data = [json.dumps([*row, 7] if pk else row) for row in rows]
    if wide and op != "D":
        data = [f"[{text}]" for text in data]
    found = decoder.many(op, data)
    assert [list(values) for values in found] == [decoder.values(op, each) for each in data]


@given(st.lists(st.one_of(UUIDS, UUIDS, ODD, st.none()), min_size=1, max_size=5))
def test_a_column_of_uuids_is_read_as_each_of_them(column: list[Any]) -> None:
    definition = _definition({"kind": "uuid"})
    decoder = decode.compile(definition)
    data = [json.dumps([value]) for value in column]
    assert [*map(list, decoder.many("I", data))] == [decoder.values("I", each) for each in data]


@pytest.mark.parametrize(
    "data", [["[1]", "2"], ["[1]", "{}"], ["[1],[1]"], ["[1", "2]"], ["[1]", "["]]
)
def test_one_of_many_texts_that_no_trigger_wrote(data: list[str]) -> None:
    decoder = decode.compile(_definition({"kind": "uuid"}))
    with pytest.raises(SockstreamError, match="cannot be read"):
        decoder.many("I", data)


def test_another_version_is_refused() -> None:
    with pytest.raises(SockstreamError, match="another version"):
        decode.compile(_definition({"kind": "int"}, version=2))
