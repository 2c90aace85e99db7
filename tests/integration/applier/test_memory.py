"""What the applier keeps does not grow with the stream."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pytest
from django.db import connections

from sockstream.receiver.applying import parts
from sockstream.receiver.applying.tables import memory
from sockstream.receiver.applying.tables.effects import Meetings
from sockstream.receiver.applying.tables.references import References
from sockstream.receiver.applying.tables.writing import Writer
from sockstream.receiver.models import HeldRow
from sockstream.rows import describe
from sockstream.wire.records import INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Slot

NAMED = Layout("zoo.slot", ("id",), ("name",))


@pytest.mark.parametrize("in_one_group", [True, False])
def test_it_stays_flat(in_one_group: bool, databases: Databases) -> None:
    databases.clean("central_sqlite")
    feed = Feed()
    applier = feed.applier("central_sqlite")

    def some() -> None:
        for _ in range(10):
            feed.insert(*(Slot(name=f"slot {number}") for number in range(500)))
            applier.apply([feed.batch(open=in_one_group)])
            feed.sent.clear()
        gc.collect()

    tracemalloc.start()
    try:
        some()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        some()
        some()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200_000
    assert peak - before < 10_000_000


@pytest.mark.parametrize("form", ["staged", "one group", "many groups"])
def test_values_that_hold_much_are_unpacked_one_after_the_other(
    form: str, central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten elements in a row, and twenty-five at once: two rows. No column takes lists."""
    monkeypatch.setattr(parts, "CHUNK_NESTED", 25)
    together = []

    def look(self: Writer, given: Any, *args: Any, **options: Any) -> Meetings:
        together.append(sum(part.nested for part in given))
        return Meetings()

    monkeypatch.setattr(Writer, "write", look)
    feed = Feed()
    applier = feed.applier(central)
    for number in range(9):
        feed.raw(INSERT, NAMED, [bytes(15) + bytes([number]), [[{"a": 1}, [], {}, [2, 3]], 0, 1]])
        feed.batch(open=form != "many groups" and number < 8)
    for batches in [[each] for each in feed.sent] if form == "staged" else [feed.sent]:
        applied = applier.apply(batches)
    assert (applied.offset, applied.records) == (9, 9)
    assert max(together) == 20


@pytest.mark.parametrize(
    ("pragma", "own", "used"),
    [
        ("cache_size", -2_000, -65_536),
        ("cache_size", -9_000, -9_000),
        ("wal_autocheckpoint", 1_000, 50_000),
        ("wal_autocheckpoint", 9_000, 9_000),
    ],
)
def test_sqlite_has_room_unless_the_project_says_how_much(
    pragma: str, own: int, used: int, databases: Databases
) -> None:
    databases.clean("central_sqlite")
    with connections["central_sqlite"].cursor() as cursor:
        cursor.execute(f"PRAGMA {pragma} = {own}")
        feed = Feed()
        feed.applier("central_sqlite").apply([feed.insert(Slot(name="slot")).batch()])
        cursor.execute(f"PRAGMA {pragma}")
        assert cursor.fetchone() == (used,)


def test_sqlite_gets_rows_in_the_order_of_their_keys(databases: Databases) -> None:
    """So that of each table and index a page that many rows go to is written once."""
    databases.clean("central_sqlite")
    written: dict[str, list[Any]] = {}

    def note(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        written[sql.partition("(")[0]] = list(params or ())
        return execute(sql, params, *rest)

    feed = Feed()
    batch = feed.insert(*(Author(name=str(number)) for number in range(50))).batch()
    with connections["central_sqlite"].execute_wrapper(note):
        feed.applier("central_sqlite").apply([batch])
    rows, held = (
        next(params for sql, params in written.items() if sql.startswith("INSERT") and table in sql)
        for table in (Author._meta.db_table, HeldRow._meta.db_table)
    )
    assert len(rows) == len(held) == 50
    assert rows == sorted(rows, key=itemgetter(0))
    assert held == sorted(held)


def test_references_are_not_remembered_for_ever(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_MOST_PKS", 10)
    remembered = memory.Memory()
    authors = [Author.objects.using(central).create(name=str(number)) for number in range(30)]
    names = [author.id.bytes for author in authors]
    found = References(central, remembered)
    row = describe(Author)
    for start in range(0, 30, 4):
        local = found.local(row, names[start : start + 4])
        assert local == [author.pkid for author in authors[start : start + 4]]
        assert sum(len(pks) for pks in remembered.pks.values()) <= 10
    assert found.local(row, names) == [author.pkid for author in authors]
    assert found.local(row, [None, b"u" * 16, names[0]]) == [None, None, authors[0].pkid]
