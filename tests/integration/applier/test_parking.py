"""With "park": a record at fault is set aside, and later ones of its row; the stream goes on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import connections

from sockstream.receiver.applying.applier import Applied
from sockstream.receiver.models import Cause, Parked, State
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import offset, parked, take
from tests.zoo import models as zoo
from tests.zoo.models import Parameter, Slot, Tree

pytestmark = pytest.mark.usefixtures("parks")


def test_one_bad_record_is_set_aside_and_the_rest_of_its_group_is_applied(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7, name="bad")
    feed = Feed().insert(Slot(position=1)).end()
    feed.insert(Slot(position=2), bad, Slot(position=3)).end().insert(Slot(position=4))
    batch = feed.batch()
    applied = feed.applier(central).apply([batch])
    assert applied == Applied(5, batch.digest_after, 5, False)
    assert Slot.objects.using(central).filter(position__lt=5).count() == 4
    row = Parked.objects.using(central).get()
    assert (row.source.name, row.stream, row.seq, row.op) == ("site-a", "default", 3, INSERT)
    assert (row.model, row.key) == ("zoo.slot", str(bad.id))
    assert (row.cause, row.behind, row.code) == (Cause.FAULT, 0, "record-refused")
    assert "position" in row.error
    assert row.epoch == bytes(offset(central).epoch).hex()
    at = offset(central)
    assert (at.seq, at.records_applied, at.parked, at.state) == (5, 4, 1, State.IDLE)
    assert at.error_code == ""


def test_later_records_of_its_row_wait_behind_it(central: str) -> None:
    take(central, 7)
    bad, other = Slot(position=7), Slot(position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad, other).batch()])
    bad.position = 8
    applier.apply([feed.update(bad, other).batch()])
    applier.apply([feed.delete(bad, other).batch()])
    applier.apply([feed.insert(bad).batch()])
    found = [(1, "fault", 0), (3, "row", 1), (5, "row", 3), (7, "row", 5)]
    assert parked(central) == found
    assert Slot.objects.using(central).count() == 1
    assert (offset(central).seq, offset(central).parked) == (7, 4)


def test_another_session_knows_what_is_parked(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(bad).batch()])
    bad.position = 8
    feed.applier(central).apply([feed.update(bad).batch()])
    assert parked(central) == [(1, "fault", 0), (2, "row", 1)]


def test_constraints_that_postgresql_looks_at_in_the_end(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    zoo.Ranked.objects.using(using).create(rank=5)
    one, two = zoo.Ranked(rank=1), zoo.Ranked(rank=2)
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(one, two).batch()])
    one.rank, two.rank = 2, 1
    applier.apply([feed.update(one, two).insert(zoo.Ranked(rank=5), Tree()).batch()])
    assert parked(using) == [(5, "fault", 0)]
    assert zoo.Ranked.objects.using(using).get(id=one.id).rank == 2


def test_a_constraint_of_postgresqls_own_code_is_about_one_record(databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    with connections[using].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.name = 'bad' THEN RAISE EXCEPTION 'not this one'; END IF; "
            "RETURN NEW; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER no BEFORE INSERT ON zoo_tree FOR EACH ROW EXECUTE FUNCTION no()"
        )
    try:
        feed = Feed().insert(Tree(name="good"), Tree(name="bad"))
        feed.applier(using).apply([feed.batch()])
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("DROP TRIGGER no ON zoo_tree")
            cursor.execute("DROP FUNCTION no")
    assert "not this one" in Parked.objects.using(using).get().error


def test_nothing_is_asked_while_nothing_is_parked(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(Tree(), Tree()).batch()])
    connection = connections[central]
    connection.force_debug_cursor = True
    try:
        connection.queries_log.clear()
        applier.apply([feed.insert(Tree(), Tree()).batch()])
        asked = [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False
    assert asked
    assert not [sql for sql in asked if "sockstream_receiver_parked" in sql]


def test_what_is_parked_is_asked_once_a_session(central: str) -> None:
    take(central, 7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(Slot(position=7)).batch()])
    applier = feed.applier(central)
    connection = connections[central]
    connection.force_debug_cursor = True
    try:
        connection.queries_log.clear()
        for _ in range(3):
            applier.apply([feed.insert(Tree(), Slot(position=7)).batch()])
        asked = [query["sql"] for query in connection.queries]
    finally:
        connection.force_debug_cursor = False
    table = connection.ops.quote_name("sockstream_receiver_parked")
    assert len([sql for sql in asked if f"FROM {table}" in sql]) == 1


def test_one_line_for_each_once_it_is_committed(
    central: str, caplog: pytest.LogCaptureFixture
) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    with caplog.at_level(logging.WARNING, "sockstream.receiver"):
        applier.apply([feed.insert(bad).batch(open=True)])
        assert not caplog.messages
        applier.apply([feed.update(bad).batch()])
    first, second = caplog.messages
    assert first.startswith(
        f"site-a/default: parked 1 (zoo.slot, key {bad.id}): Central's database"
    )
    assert second.endswith("Record 1 of the same row is parked")


def test_the_signal_counts_what_was_applied(central: str) -> None:
    take(central, 7)
    heard: list[dict[str, int]] = []

    def listen(counts: Any, **_: Any) -> None:
        heard.append(counts())

    records_applied.connect(listen)
    try:
        feed = Feed().insert(Slot(position=7), Slot(position=8), Parameter(name="p"))
        feed.applier(central).apply([feed.batch()])
    finally:
        records_applied.disconnect(listen)
    assert heard == [{"zoo.slot": 1, "zoo.parameter": 1}]


def test_a_crash_leaves_rows_offset_and_parked_records_together(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(central, 7)
    feed = Feed()
    applier = feed.applier(central)
    bad = Slot(position=7)
    batch = feed.insert(bad, Tree()).batch()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sockstream.receiver.applying.applier.move", crash)
        with pytest.raises(KeyboardInterrupt):
            applier.apply([batch])
    assert (parked(central), offset(central).seq, Tree.objects.using(central).count()) == ([], 0, 0)
    applier.apply([batch])
    assert applier.apply([batch]).records == 0
    assert (parked(central), offset(central).seq) == ([(1, "fault", 0)], 2)
    assert Tree.objects.using(central).count() == 1


def test_a_key_that_is_no_key_can_be_parked(central: str) -> None:
    layout = Layout("zoo.parameter", ("name",), ("value",))
    feed = Feed().raw(INSERT, layout, [{"a": 1}, "x"]).raw(INSERT, layout, ["good", "x"])
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    applier.apply([feed.raw(2, layout, [{"a": 1}, "y"]).batch()])
    assert parked(central) == [(1, "fault", 0), (3, "row", 1)]
