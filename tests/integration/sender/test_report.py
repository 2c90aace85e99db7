"""What oplog_send shows: one live line on a terminal, and a trouble once."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from sockstream.exceptions import SockstreamError
from sockstream.sender.oplog import store
from sockstream.sender.report import LiveReport, Report
from tests.databases import Databases

TROUBLE = SockstreamError("unreachable", "Nobody answers", "Wait")


def test_the_live_line_has_backlog_rate_acked_and_peer(databases: Databases) -> None:
    databases.clean("site_sqlite")
    store.stream("site_sqlite")
    screen = io.StringIO()
    with LiveReport(Console(file=screen, force_terminal=True, width=100)) as report:
        report.show("site_sqlite", "connected to central", 1_234)
    assert "connected to central · acked 1,234 · backlog 0 · 0 records/s" in screen.getvalue()


def test_a_trouble_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sockstream.sender")
    report = Report()
    report.trouble(TROUBLE)
    report.trouble(TROUBLE)
    assert [record.message for record in caplog.records] == ["Nobody answers. Wait."]
    report.say("Connected")
    report.trouble(TROUBLE)
    assert [record.message for record in caplog.records[1:]] == [
        "Connected",
        "Nobody answers. Wait.",
    ]
