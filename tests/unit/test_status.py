"""The words and tables of `oplog_status`, without a database."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings
from rich.console import Console

from sockstream import status
from sockstream.status import Section
from tests.unit.trust import Trust

DOCS = Path(__file__).resolve().parents[2] / "docs" / "status.md"
NOW = datetime.now(UTC)

SITE: dict[str, Any] = {
    "database": "default",
    "stream": "default",
    "epoch": "0badcafe",
    "seq": 12345,
    "digest": "12ab34cd",
    "acked": 12000,
    "acked_at": NOW,
    "captured": 5,
    "unacked": 345,
    "backlog": 350,
    "lag": 3.2,
    "pruned": 1000,
    "oplog_bytes": 200_000,
    "oplog_large": False,
    "snapshot": "",
    "snapshot_error": "",
    "peer": "central.example.org",
    "running": True,
    "sender": "process 4711 on site-a, since 2026-11-30 08:00:00",
    "state": "connected",
    "state_at": NOW - timedelta(hours=3),
    "error_code": "",
    "error": "",
}
CENTRAL: dict[str, Any] = {
    "database": "default",
    "source": "site-a",
    "stream": "default",
    "epoch": "0badcafe",
    "seq": 12000,
    "digest": "12ab34cd",
    "state": "stopped",
    "address": "[::1]:4711",
    "certificate_expires": NOW + timedelta(days=400),
    "certificate_warning": "",
    "connected_at": None,
    "last_seen": NOW - timedelta(hours=7),
    "applied_at": None,
    "records": 98765,
    "parked": 4321,
    "staged": 1234,
    "staged_bytes": 5 << 20,
    "inserts_met": 1,
    "updates_missed": 2,
    "deletes_missed": 3,
    "error_code": "record-refused",
    "error": "UNIQUE constraint failed: [shop].order",
    "error_model": "shop.order",
    "error_key": "77",
    "error_seq": 12001,
    "error_at": NOW,
}


def shown(*sections: Section, width: int = status.WIDE) -> str:
    out = io.StringIO()
    status.show(sections, Console(file=out, width=width))
    return out.getvalue()


def test_a_site_s_table() -> None:
    text = shown(Section("site", [SITE]))
    for word in ("site", "0badcafe", "12,345", "12,000", "350", "3 s", "3 h ago", "connected"):
        assert word in text
    assert "error" not in text


def test_central_s_table_with_its_error_in_full() -> None:
    text = shown(Section("central", [CENTRAL]))
    for word in ("site-a", "98,765", "4,321", "1/2/3", "7 h ago", "never", "stopped", "[::1]:4711"):
        assert word in text
    assert text.splitlines()[-2:] == [
        "site-a/default: record-refused: UNIQUE constraint failed: [shop].order",
        "  at seq 12001: shop.order with the key 77",
    ]


def test_staged_records_have_a_line() -> None:
    text = shown(Section("central", [CENTRAL, {**CENTRAL, "stream": "idle", "staged": 0}]))
    assert text.count("of a transaction are staged") == 1
    assert "1,234 records (5.0 MiB) of a transaction are staged" in text


def test_an_error_line_is_not_broken_by_a_narrow_terminal() -> None:
    text = shown(Section("central", [CENTRAL]), width=40)
    assert "site-a/default: record-refused: UNIQUE constraint failed: [shop].order\n" in text


def test_a_hub_shows_both() -> None:
    text = shown(Section("site", [SITE]), Section("central", [CENTRAL]))
    assert text.index("site") < text.index("central")


def test_nothing_yet() -> None:
    assert "No stream yet." in shown(Section("central", []))


def test_unknown_lag() -> None:
    assert "│   ? │" in shown(Section("site", [{**SITE, "lag": None}]))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 s"),
        (-3.0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_300, "2 h"),
        (172_800, "2 d"),
        (8_640_000, "100 d"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert status._span(seconds) == words


def test_json() -> None:
    found = json.loads(status.as_json([Section("site", [SITE]), Section("central", [])]))
    assert found["central"] == []
    assert found["site"][0]["seq"] == 12345
    assert datetime.fromisoformat(found["site"][0]["acked_at"]).tzinfo is not None


def test_certificates_that_end_soon() -> None:
    """One line each, though the site has two streams."""
    row = {**CENTRAL, "certificate_warning": "The certificate of [site-a] expires in 3 days"}
    text = shown(Section("central", [row, {**row, "stream": "other"}]))
    assert text.splitlines()[-1] == row["certificate_warning"]
    assert text.count("expires in 3 days") == 1
    assert f"{row['certificate_expires']:%Y-%m-%d}" in text
    unknown = {**CENTRAL, "certificate_expires": None}
    assert " ? " in shown(Section("central", [unknown]))


def test_this_end_s_own_certificate(tmp_path: Path) -> None:
    trust = Trust(tmp_path)
    cert, _ = trust.client(days=10)
    with override_settings(SOCKSTREAM={"CERT": str(cert)}):
        own = status.own_certificate()
        assert own is not None
        assert "days (on" in own.warning
        assert own.warning.endswith("sockstream certs renew site")
        found = json.loads(status.as_json([], own))["certificate"]
        assert found["file"] == str(cert)
        assert datetime.fromisoformat(found["expires"]) == own.expires
    with override_settings(SOCKSTREAM={"CERT": str(trust.client(days=31)[0])}):
        own = status.own_certificate()
        assert own is not None
        assert own.warning == ""
    with override_settings(SOCKSTREAM={"CERT": str(tmp_path / "none.crt")}):
        own = status.own_certificate()
        assert own is not None
        assert own.expires is None
        assert "does not exist" in own.warning
    with override_settings(SOCKSTREAM={}):
        assert status.own_certificate() is None


@pytest.mark.parametrize("row", [SITE, CENTRAL], ids=["site", "central"])
def test_every_key_is_documented(row: dict[str, Any]) -> None:
    text = DOCS.read_text()
    assert [key for key in row if f"`{key}`" not in text] == []
