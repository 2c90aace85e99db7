"""Array literals, read back the way PostgreSQL reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockstream.exceptions import Refusal
from sockstream.receiver.dialects.upserts.arrays import joined, literal
from sockstream.rows import Column, Kind

texts = st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")))


def read(written: str) -> list[str | None]:
    """A one-dimensional array literal, by the rules of PostgreSQL's manual."""
    found: list[str | None] = []
    body = written[1:-1]
    at = 0
    while at < len(body):
        if body[at] == '"':
            text, at = _quoted(body, at + 1)
            found.append(text)
        else:
            end = body.find(",", at)
            end = len(body) if end < 0 else end
            found.append(None if body[at:end] == "NULL" else body[at:end])
            at = end
        at += 1
    return found


def _quoted(body: str, at: int) -> tuple[str, int]:
    text = ""
    while body[at] != '"':
        at += body[at] == "\\"
        text += body[at]
        at += 1
    return text, at + 1


@given(texts.filter(len))
def test_texts(values: list[str | None]) -> None:
    assert read(joined(values)) == values


def test_nul_is_refused() -> None:
    with pytest.raises(Refusal, match="NUL"):
        joined(["a\x00b", None])
    with pytest.raises(Refusal, match="NUL"):
        joined(["\x00n"])


@pytest.mark.parametrize(
    ("kind", "values", "written"),
    [
        (Kind.INT, [1, None, -3], "{1,NULL,-3}"),
        (Kind.INT, [1, "2"], '{"1","2"}'),
        (Kind.BOOL, [True, None], "{True,NULL}"),
        (Kind.FLOAT, [float("inf"), float("nan"), 0.1], "{inf,nan,0.1}"),
        (Kind.UUID, [b"\x01" * 16, None], '{"' + "01" * 16 + '",NULL}'),
        (Kind.BINARY, [b"\x00\xff"], '{"\\\\x00ff"}'),
        (Kind.DURATION, [1, -1], '{"0 days 0.000001 seconds","-1 days 86399.999999 seconds"}'),
        (
            Kind.HSTORE,
            [{"a": None, 'b"': "c\\"}],
            '{"\\"a\\"=>NULL,\\"b\\\\\\"\\"=>\\"c\\\\\\\\\\""}',
        ),
        (Kind.TEXT, ["NULL", "", "a,b"], '{"NULL","","a,b"}'),
        # What was no value of its kind at the site goes as it came.
        (Kind.DURATION, ["1 day"], '{"1 day"}'),
        (Kind.HSTORE, ["a=>1"], '{"a=>1"}'),
        (Kind.ARRAY, ["{1,2}"], '{"{1,2}"}'),
    ],
)
def test_kinds(kind: Kind, values: list[object], written: str) -> None:
    assert literal(Column("field", "field", kind))(values) == written


def test_nested_arrays() -> None:
    numbers = Column("field", "field", Kind.INT)
    rows = Column("field", "field", Kind.ARRAY, base=numbers)
    nested = Column("field", "field", Kind.ARRAY, base=rows)
    assert literal(nested)([[[1, None], [2, 3]]]) == ('{"{{\\"1\\",NULL},{\\"2\\",\\"3\\"}}"}')


def test_a_decimal_in_an_array_is_not_rounded() -> None:
    prices = Column("prices", "prices", Kind.DECIMAL, places=2)
    encode = literal(Column("prices", "prices", Kind.ARRAY, base=prices))
    assert encode([["1.50", None, "NaN"], None]) == '{"{\\"1.50\\",NULL,\\"NaN\\"}",NULL}'
    with pytest.raises(Refusal, match=r"'prices' has '1\.505'.* 2 decimal places"):
        encode([["1.505"]])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.INT, b"7"),
        (Kind.INT, "text"),
        (Kind.INT, "0x1F"),
        (Kind.BOOL, "yes"),
        (Kind.DATE, "today"),
        (Kind.DATE, "2024-02-29 10:00"),
        (Kind.TIME, "allballs"),
        (Kind.TIME, "2024-02-29 10:00"),
        (Kind.DATETIME, "epoch"),
        (Kind.INSTANT, "now"),
        (Kind.TEXT, b"text"),
        (Kind.TEXT, 7),
        (Kind.DATE, 7),
        (Kind.BINARY, "\\x00"),
        (Kind.DURATION, b"7"),
        (Kind.ARRAY, b"{}"),
        (Kind.INSTANT, 7),
        (Kind.TEXT, "nul: \x00"),
    ],
)
def test_what_is_nothing_to_a_column_is_named(kind: Kind, value: object) -> None:
    with pytest.raises(Refusal) as caught:
        literal(Column("field", "field", kind))([None, value])
    assert caught.value.words.startswith(f"The field 'field' has {value!r}")
