"""What central's own code hears after a commit."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models.signals import post_save

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset
from sockstream.receiver.signals import records_applied
from tests.integration.applier.feed import Feed
from tests.zoo.models import Bounded, Parameter, Tree

Heard = list[dict[str, Any]]


@pytest.fixture
def heard() -> Iterator[Heard]:
    found: Heard = []

    def listen(**arguments: Any) -> None:
        arguments["counts"] = arguments["counts"]()
        found.append(arguments)

    records_applied.connect(listen)
    yield found
    records_applied.disconnect(listen)


def test_after_each_commit(central: str, heard: Heard) -> None:
    feed = Feed()
    applier = feed.applier(central)
    batch = feed.insert(Parameter(name="1"), Tree()).end().update(Parameter(name="1")).batch()
    applier.apply([batch])
    assert len(heard) == 1
    said = heard[0]
    assert (said["source"], said["stream"], said["using"]) == ("site-a", "default", central)
    assert (said["first_seq"], said["last_seq"]) == (1, 3)
    assert said["counts"] == {"zoo.parameter": 2, "zoo.tree": 1}
    applier.apply([batch])
    assert len(heard) == 1


def test_once_for_an_open_group(central: str, heard: Heard) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Parameter(name="1")).batch(open=True)])
    assert not heard
    applier.apply([feed.insert(Parameter(name="2"), Tree()).batch()])
    assert [(said["first_seq"], said["last_seq"]) for said in heard] == [(1, 3)]
    assert heard[0]["counts"] == {"zoo.parameter": 2, "zoo.tree": 1}


def test_what_was_rolled_back_is_not_said(central: str, heard: Heard) -> None:
    feed = Feed()
    feed.insert(Tree()).end().insert(Bounded(low=9))
    with pytest.raises(Stopped):
        feed.applier(central).apply([feed.batch()])
    assert [said["last_seq"] for said in heard] == [1]


def test_a_receiver_that_fails_changes_nothing(
    central: str, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("not my day")

    records_applied.connect(fail)
    try:
        feed = Feed()
        with caplog.at_level(logging.ERROR):
            applied = feed.applier(central).apply([feed.insert(Tree()).batch()])
    finally:
        records_applied.disconnect(fail)
    assert applied.offset == 1
    assert len(heard) == 1
    assert "not my day" in caplog.text
    assert Offset.objects.using(central).get().seq == 1


def test_no_post_save(central: str) -> None:
    saved: list[Any] = []

    def listen(**arguments: Any) -> None:
        if arguments["sender"]._meta.app_label != "sockstream_receiver":
            saved.append(arguments["sender"])

    post_save.connect(listen)
    try:
        feed = Feed()
        applier = feed.applier(central)
        saved.clear()
        applier.apply([feed.insert(Tree()).batch()])
    finally:
        post_save.disconnect(listen)
    assert saved == []
