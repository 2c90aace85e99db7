"""Triggers that go away while oplog_send runs: it says so, and what was missed follows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connections

from demo.compare import compare
from polls.models import Tag
from sockstream.sender.models import Due
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    wait_until,
    wait_until_applied,
)
from tests.faults.test_divergence import status_of

# A look comes every twenty seconds.
NOTICED_WITHIN = 45.0
WITHOUT_TRIGGERS = {
    "sqlite": 'DROP TRIGGER "sockstream_insert_polls_tag"',
    "postgresql": "ALTER TABLE polls_tag DISABLE TRIGGER ALL",
}


def by_another_tool(alias: str) -> None:
    """What a tool does that makes a table anew, or loads rows into it, without Django."""
    connection = connections[alias].copy()
    connection.ensure_connection()
    connection.connection.execute(WITHOUT_TRIGGERS[connection.vendor])
    connection.close()


@pytest.fixture
def restored(pair: Pair) -> Iterator[None]:
    yield
    call_command("oplog_capture", "install", database=pair.site, verbosity=0)
    Due.objects.using(pair.site).all().delete()


@pytest.mark.slow
@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    "pair",
    [PAIRS["sqlite-sqlite"], PAIRS["pg-pg"]],
    ids=["sqlite", "pg"],
    indirect=True,
)
def test_triggers_go_while_the_sender_runs(pair: Pair, certificates: Certificates) -> None:
    with (
        ReceiverProcess(pair.central, certificates) as central,
        SenderProcess(pair.site, certificates, central.address) as sender,
    ):
        Tag.objects.using(pair.site).create(name="before")
        wait_until_applied(pair, sender, central)
        by_another_tool(pair.site)
        Tag.objects.using(pair.site).create(name="uncaptured")
        sender.wait_for_line(
            "polls.tag: triggers are missing.*oplog_capture install", NOTICED_WITHIN
        )
        assert status_of(pair.site, "site")["error_code"] == "capture-drift"
        call_command("oplog_capture", "install", database=pair.site, verbosity=0)
        wait_until(lambda: not Due.objects.using(pair.site).exists(), "taken", NOTICED_WITHIN)
        wait_until_applied(pair, sender, central)
        assert status_of(pair.site, "site")["error_code"] == ""
        assert any("polls.tag: writes while triggers were missing" in line for line in sender.lines)
    assert compare([Tag], pair.site, pair.central) == []
