"""With "park": a record at fault is set aside, and later ones replace it; the stream goes on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.exceptions import SockstreamError
from sockstream.receiver.applying.applier import Applied
from sockstream.receiver.models import Cause, Parked, State
from sockstream.receiver.parked import retry
from sockstream.receiver.parked_tables import values
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import DELETE, INSERT, UPDATE, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.integration.applier.parking import MODELS, last, offset, parked, take
from tests.zoo import models as zoo
from tests.zoo.models import Parameter, Slot, Tree

pytestmark = pytest.mark.usefixtures("parks")

SLOTS = Layout("zoo.slot", ("id",), ("position", "name"))


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


def test_later_records_of_its_row_replace_it(central: str) -> None:
    take(central, 7)
    bad, other = Slot(position=7, name="first"), Slot(position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad, other).batch()])
    before = Parked.objects.using(central).get()
    bad.position, bad.name = 8, "second"
    applier.apply([feed.update(bad, other).batch()])
    bad.name = "third"
    applier.apply([feed.update(bad).end().delete(other).batch()])
    row = Parked.objects.using(central).get()
    assert (row.seq, row.last_seq, row.op, row.absent) == (1, 5, INSERT, True)
    assert dict(values(row)) == {"id": str(bad.id), "position": "8", "name": "third"}
    for name in ("pk", "cause", "behind", "code", "error", "parked_at"):
        assert getattr(row, name) == getattr(before, name)
    assert Slot.objects.using(central).count() == 1
    at = offset(central)
    assert (at.seq, at.parked, at.records_applied) == (6, 1, 5)


def test_a_row_that_is_deleted_before_it_was_there_is_not_parked_any_more(
    central: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken = take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(bad).end().update(bad).batch()])
    assert last(central) == {1: (2, INSERT)}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "sockstream.receiver"):
        applier.apply([feed.delete(bad).batch()])
    assert caplog.messages == [
        f"site-a/default: no longer parked: 1 (zoo.slot, key {bad.id}): "
        "Record 3 deletes the row, which central does not have"
    ]
    at = offset(central)
    assert (parked(central), at.parked, at.records_applied) == ([], 0, 3)
    assert (at.deletes_missed, Slot.objects.using(central).get().id) == (0, taken.id)
    bad.position = 8
    applier.apply([feed.insert(bad).batch()])
    assert Slot.objects.using(central).filter(id=bad.id).exists()


def test_a_row_that_comes_and_goes_in_one_group_is_not_parked(
    central: str, caplog: pytest.LogCaptureFixture
) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed().insert(bad, Tree()).raw(INSERT, SLOTS, [b"s" * 16, 7, "too"]).delete(bad)
    feed.applier(central).apply([feed.batch()])
    assert parked(central) == [(3, "fault", 0)]
    at = offset(central)
    assert (at.parked, at.records_applied, at.deletes_missed) == (1, 3, 0)
    assert f"not parked: 1 (zoo.slot, key {bad.id}): Record 4 deletes the row" in caplog.text


@pytest.mark.parametrize("there", ["brought", "by somebody"])
def test_a_row_that_central_has_is_to_be_deleted(central: str, there: str) -> None:
    """The delete is parked, so that no row stays that the site has not."""
    taken = take(central, 7)
    row = Slot(position=1)
    feed = Feed().insert(Tree())
    if there == "brought":
        feed.insert(row)
    applier = feed.applier(central)
    applier.apply([feed.batch()])
    row.position = 7
    write = feed.update if there == "brought" else feed.insert
    applier.apply([write(row).batch()])
    first = feed.seq
    if there == "by somebody":
        Slot.objects.using(central).create(id=row.id, position=1)
    applier.apply([feed.delete(row).batch()])
    assert last(central) == {first: (first + 1, DELETE)}
    entry = Parked.objects.using(central).get()
    assert (entry.absent, offset(central).parked) == (False, 1)
    taken.delete()
    assert Slot.objects.using(central).get().id == row.id
    if there == "by somebody":
        with pytest.raises(SockstreamError, match="has not brought"):
            retry(central)
    else:
        assert retry(central).applied == 1
    left = int(there == "by somebody")
    assert len(parked(central)) == offset(central).parked == left
    assert Slot.objects.using(central).count() == left


def test_a_row_whose_delete_is_parked_comes_again(central: str) -> None:
    taken = take(central, 7)
    row = Slot(position=1)
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(row).batch()])
    row.position = 7
    applier.apply([feed.update(row).end().delete(row).end().insert(row).batch()])
    assert last(central) == {2: (4, UPDATE)}
    taken.delete()
    assert retry(central).applied == 1
    assert Slot.objects.using(central).get().position == 7
    assert (offset(central).inserts_met, offset(central).updates_missed) == (0, 0)


def test_a_busy_row_does_not_fill_what_is_remembered(central: str) -> None:
    take(central, 7)
    row = Slot(position=7)
    more = {"MODELS": MODELS, "ON_ERROR": "park", "PARKED_MAX": 1}
    with override_settings(SOCKSTREAM=more):
        feed = Feed().insert(row)
        applier = feed.applier(central)
        for number in range(30):
            row.name = str(number)
            applier.apply([feed.update(row).batch()])
    assert last(central) == {1: (31, INSERT)}
    assert (offset(central).parked, offset(central).records_applied) == (1, 30)


def test_another_session_knows_what_is_parked(central: str) -> None:
    take(central, 7)
    bad = Slot(position=7)
    feed = Feed()
    feed.applier(central).apply([feed.insert(bad).batch()])
    bad.position = 8
    feed.applier(central).apply([feed.update(bad).batch()])
    assert parked(central) == [(1, "fault", 0)]
    assert last(central) == {1: (2, INSERT)}


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
    table, seq = map(connection.ops.quote_name, ("sockstream_receiver_parked", "seq"))
    wheres = [sql.partition(f"FROM {table} WHERE ")[2] for sql in asked]
    assert len([w for w in wheres if w and seq not in w.partition("ORDER BY")[0]]) == 1


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
        applier.apply([feed.update(bad).batch()])
    first, second = caplog.messages
    assert first.startswith(
        f"site-a/default: parked 1 (zoo.slot, key {bad.id}): Central's database"
    )
    assert second.endswith(f"parked 3 (zoo.slot, key {bad.id}): Record 1 of the same row is parked")


def test_the_signal_counts_what_was_applied(central: str) -> None:
    take(central, 7)
    heard: list[dict[str, int]] = []

    def listen(counts: Any, **_: Any) -> None:
        heard.append(counts())

    records_applied.connect(listen)
    try:
        bad = Slot(position=7)
        feed = Feed().insert(bad, Slot(position=8), Parameter(name="p")).update(bad)
        applier = feed.applier(central)
        applier.apply([feed.batch()])
        applier.apply([feed.update(bad).end().update(bad).insert(Slot(position=9)).batch()])
    finally:
        records_applied.disconnect(listen)
    assert heard == [{"zoo.slot": 1, "zoo.parameter": 1}, {"zoo.slot": 1}]


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
    assert parked(central) == [(1, "fault", 0)]
    assert last(central) == {1: (3, INSERT)}
