"""Wire values in the forms in which SQLite and MySQL store them."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from sockstream.exceptions import Refusal
from sockstream.receiver.dialects.upserts.base import Encoder
from sockstream.receiver.dialects.upserts.forms import encoder
from sockstream.rows import Column, Kind

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
