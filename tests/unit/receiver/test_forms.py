"""Wire values in the forms in which SQLite and MySQL store them."""

from __future__ import annotations

from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from sockstream.exceptions import Refusal
from sockstream.receiver.dialects.upserts.base import Encoder
from sockstream.receiver.dialects.upserts.forms import encoder, unfit
from sockstream.rows import Column, Kind, Type

BERLIN = ZoneInfo("Europe/Berlin")


def encodes(kind: Kind, zone: ZoneInfo | None = None) -> Encoder:
    found = encoder(Column("field", "field", kind), zone)
    assert found is not None
    return found


def test_an_instant_becomes_the_database_s_local_time() -> None:
    encode = encodes(Kind.INSTANT, BERLIN)
    assert encode(["2026-07-01 10:00:00.000001Z", None]) == ["2026-07-01 12:00:00.000001", None]
    assert encode(["2026-01-01 10:00:00Z"]) == ["2026-01-01 11:00:00"]


@pytest.mark.parametrize("text", ["soonZ", "soon", "2026-13-01 10:00:00Z"])
def test_what_is_no_instant_stays_as_it_came(text: str) -> None:
    assert encodes(Kind.INSTANT, BERLIN)([text]) == [text]


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(Refusal, match="at one end only"):
        encodes(Kind.INSTANT, BERLIN)(["2026-07-01 10:00:00"])


def test_a_datetime_with_a_zone_is_refused_where_they_have_none() -> None:
    encode = encodes(Kind.DATETIME)
    assert encode(["2026-07-01 10:00:00", None, "Z"]) == ["2026-07-01 10:00:00", None, "Z"]
    with pytest.raises(Refusal, match="at one end only"):
        encode(["2026-07-01 10:00:00Z"])


def test_a_date_of_zeros_has_no_zone_to_differ_by() -> None:
    zeros = "0000-00-00 00:00:00"
    assert encodes(Kind.INSTANT)([zeros, "2026-02-30 00:00:00"]) == [zeros, "2026-02-30 00:00:00"]


@pytest.mark.parametrize(
    ("came", "stored"),
    [
        (UUID(int=1).bytes, UUID(int=1).hex),
        (str(UUID(int=1)), UUID(int=1).hex),
        (UUID(int=1).hex, UUID(int=1).hex),
        ("a text that is as long as a UUID is", "a text that is as long as a UUID is"),
        ("3", "3"),
    ],
)
def test_a_uuid_has_the_form_by_which_it_is_found(came: object, stored: str) -> None:
    assert encodes(Kind.UUID)([came, None]) == [stored, None]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "sNaN", "inf"])
def test_a_decimal_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(Refusal, match=f"'field' has '{value}'"):
        encodes(Kind.DECIMAL)(["1.5", value])


def test_a_decimal_that_never_was_one_stays_as_it_came() -> None:
    assert encodes(Kind.DECIMAL)(["1.123456789", "soon", "", None, 7]) == [
        *("1.123456789", "soon", "", None, 7)
    ]


def test_a_column_of_ones_own_takes_what_it_can_hold() -> None:
    texts = Column("field", "field", Kind.ANY, type=Type("char(26)", "char(26)", "char(26)"))
    blobs = Column("field", "field", Kind.ANY, type=Type("blob", "blob", "blob"))
    assert bytes in unfit(texts)
    assert bytes not in unfit(blobs)
    assert unfit(blobs) == {list, tuple, dict}
