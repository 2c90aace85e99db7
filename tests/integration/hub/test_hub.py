"""A project that is a central and a site in one: what is captured there, and what is sent on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.databases import origin
from sockstream.receiver.models import Central, Offset
from sockstream.wire.errors import Class, WireError
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Slot

ROOT = Path(__file__).parents[3]
LOOKS = [
    "_applied",
    "_own_between",
    "_refused",
    "_replaced",
    "_own_after_an_error",
    "_triggers_of_ours",
]


def hub(site: str, databases: Databases, folder: Path) -> dict[str, Any]:
    """The settings of a database of its own beside the site's."""
    settings = {
        key: value
        for key, value in connections[site].settings_dict.items()
        if key in {"ENGINE", "NAME", "HOST", "PORT", "USER", "OPTIONS"}
    }
    name = f"hub_{folder.name}".lower()[:60]
    if connections[site].vendor == "sqlite":
        return settings | {"NAME": str(folder / "hub.sqlite3")}
    if connections[site].vendor == "postgresql":
        databases.new_postgresql(name)
    else:
        with connections[site].cursor() as cursor:
            cursor.execute(f"CREATE DATABASE `{name}`")
    return settings | {"NAME": name}


@pytest.mark.parametrize("forward", [False, True], ids=["apart", "forward"])
def test_what_streams_bring_is_captured_if_the_project_says_so(
    forward: bool, site: str, databases: Databases, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.integration.hub.run"],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.integration.hub.settings",
            "HUB_DATABASE": json.dumps(hub(site, databases, tmp_path)),
            "HUB_SETTINGS": json.dumps({"FORWARD": forward}),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.split() == LOOKS


def refused(using: str, *forwards: str) -> WireError:
    with pytest.raises(WireError) as caught:
        Feed().opened(using, forwards=forwards)
    return caught.value


def test_what_this_central_forwards_does_not_come_back(central: str) -> None:
    mine = origin.own_id(central)
    for forwards in ((mine,), ("a" * 32, mine), (mine, "b" * 32)):
        error = refused(central, *forwards)
        assert (error.code, error.class_) == ("loop", Class.PERSON)
    assert Feed().opened(central, forwards=("a" * 32,)).offset == 0


def test_a_hub_names_all_centrals_whose_rows_it_sends_on(central: str) -> None:
    Feed().opened(central, forwards=("a" * 32, "b" * 32))
    Feed().opened(central, "site-b", forwards=("b" * 32, "c" * 32))
    Feed().opened(central, "site-c")
    assert origin.forwarded(central) == []
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "FORWARD": True}):
        found = origin.forwarded(central)
    assert found == [origin.own_id(central), *(letter * 32 for letter in "abc")]


def test_what_was_refused_is_not_sent_on(central: str) -> None:
    refused(central, origin.own_id(central), "a" * 32)
    assert Offset.objects.using(central).get().forwards == ""


def test_a_central_keeps_its_name(central: str) -> None:
    assert origin.own_id(central) == origin.own_id(central)
    assert Central.objects.using(central).count() == 1


def test_a_stream_that_ceases_to_forward_is_let_in(central: str) -> None:
    mine = origin.own_id(central)
    refused(central, mine)
    feed = Feed()
    feed.applier(central).apply([feed.insert(Slot(name="x")).batch()])
    assert Offset.objects.using(central).get().seq == 1


def test_a_site_that_is_no_hub_forwards_nothing(site: str) -> None:
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "FORWARD": True}):
        assert origin.forwarded(site) == []
    assert not origin.keeps_apart(site)
