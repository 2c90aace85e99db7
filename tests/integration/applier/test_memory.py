"""What the applier keeps does not grow with the stream."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from django.db import connections

from sockstream.receiver.applying import references
from sockstream.receiver.applying.references import References
from sockstream.rows import describe
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Slot


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
    applier.close()
    assert after - before < 200_000
    assert peak - before < 10_000_000


@pytest.mark.parametrize(("own", "used"), [(-2_000, -65_536), (-9_000, -9_000)])
def test_sqlite_has_room_unless_the_project_says_how_much(
    own: int, used: int, databases: Databases
) -> None:
    databases.clean("central_sqlite")
    with connections["central_sqlite"].cursor() as cursor:
        cursor.execute(f"PRAGMA cache_size = {own}")
        feed = Feed()
        feed.applier("central_sqlite").apply([feed.insert(Slot(name="slot")).batch()])
        cursor.execute("PRAGMA cache_size")
        assert cursor.fetchone() == (used,)


def test_references_are_not_remembered_for_ever(
    central: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "_MOST", 10)
    authors = [Author.objects.using(central).create(name=str(number)) for number in range(30)]
    names = [author.id.bytes for author in authors]
    found = References(central)
    row = describe(Author)
    for start in range(0, 30, 4):
        local = found.local(row, names[start : start + 4])
        assert local == [author.pkid for author in authors[start : start + 4]]
        assert sum(map(len, found._known.values())) <= 10
    assert found.local(row, names) == [author.pkid for author in authors]
    assert found.local(row, [None, b"u" * 16, names[0]]) == [None, None, authors[0].pkid]
