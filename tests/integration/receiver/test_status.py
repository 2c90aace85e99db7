"""`oplog_status` on real databases, at either end."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from sockstream.receiver import status
from sockstream.receiver.models import Offset, Source
from sockstream.sender.oplog import store
from tests.databases import Databases, Pair
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import connected, slots
from tests.unit import test_status as unit
from tests.unit.trust import Trust
from tests.zoo.models import Slot


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("oplog_status", *arguments, stdout=out)
    return out.getvalue()


def test_both_ends(pair: Pair) -> None:
    Slot.objects.using(pair.site).create(position=1)
    now = timezone.now()
    source = Source.objects.using(pair.central).create(name="site-a", first_seen=now, last_seen=now)
    Offset.objects.using(pair.central).create(source=source, stream="default", seq=42)
    site = json.loads(run("--json", "--database", pair.site))["site"]
    assert site[0].keys() == unit.SITE.keys()
    assert (site[0]["captured"], site[0]["seq"], site[0]["backlog"]) == (1, 0, 1)
    assert site[0]["lag"] is None
    central = json.loads(run("--json", "--database", pair.central))["central"]
    assert central[0].keys() == unit.CENTRAL.keys()
    assert (central[0]["source"], central[0]["seq"]) == ("site-a", 42)
    assert "site-a" in run("--database", pair.central)


def test_it_only_reads(databases: Databases) -> None:
    databases.clean("site_sqlite")
    run("--database", "site_sqlite")
    from sockstream.sender.models import Stream

    assert not Stream.objects.using("site_sqlite").exists()
    store.stream("site_sqlite")
    assert len(json.loads(run("--json", "--database", "site_sqlite"))["site"][0]["epoch"]) == 8


def test_without_tables(databases: Databases) -> None:
    databases.folder()
    with pytest.raises(CommandError, match="holds no tables of sockstream"):
        run("--database", "default")
    connections["default"].close()


def test_state_of_a_living_and_of_a_killed_central(databases: Databases, trust: Trust) -> None:
    databases.clean("central_sqlite")

    def state() -> Any:
        return status.report("central_sqlite")[0]["state"]

    with Central("central_sqlite", trust) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            assert state() == "connected"
            before = Source.objects.using("central_sqlite").get().last_seen
            site.run(
                lambda: Source.objects.using("central_sqlite").get().last_seen > before,
                "seen again",
            )
    assert state() == "idle"
    Offset.objects.using("central_sqlite").update(state="connected")
    assert state() == "connected"
    long_ago = timezone.now() - timedelta(minutes=1)
    Source.objects.using("central_sqlite").update(last_seen=long_ago)
    with override_settings(SOCKSTREAM={"RECHECK": 10.0}):
        assert state() == "lost"
    Source.objects.using("central_sqlite").update(disabled=True)
    assert state() == "disabled"
