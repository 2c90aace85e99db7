"""The sequencer: passes, groups, batches, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper

from polls.models import Tag
from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.sender.capture import marks
from sockstream.sender.models import Batch, Capture, CaptureLayout
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.wire import records
from tests.databases import Databases
from tests.zoo.models import Parameter

PLAIN = Settings(MODELS=("polls",))


def number(site: str, settings: Settings = PLAIN) -> int:
    return sum(Sequencer(site, settings).steps())


def held(site: str) -> list[records.Batch]:
    return list(store.read(1, site, 1_000))


def names(batches: list[records.Batch]) -> list[str]:
    """The names of the tags, in the order of their numbers; a number that is missing raises."""
    found: list[str] = []
    for batch in batches:
        assert batch.first_seq == len(found) + 1
        for segment in records.segments(batch):
            found += [values[1] for _, _, values in segment.records]
    return found


def groups(batches: list[records.Batch]) -> list[int]:
    """How many records each group has."""
    sizes, size = [], 0
    for batch in batches:
        for segment in records.segments(batch):
            size += len(segment.records)
            if segment.ends_group:
                sizes.append(size)
                size = 0
    assert size == 0, "the last group has no end"
    return sizes


def add(site: str, *wanted: str) -> None:
    Tag.objects.using(site).bulk_create([Tag(name=name) for name in wanted])


def test_what_is_numbered_is_captured_no_more(site: str) -> None:
    add(site, "a", "b")
    assert number(site) == 2
    assert not Capture.objects.using(site).exists()
    assert names(held(site)) == ["a", "b"]
    assert number(site) == 0


def test_a_pass_is_a_group(site: str) -> None:
    add(site, "a")
    add(site, "b", "c")
    number(site)
    add(site, "d")
    number(site)
    assert groups(held(site)) == [3, 1]


def test_a_batch_has_no_more_records_than_it_may(site: str) -> None:
    add(site, *map(str, range(25)))
    number(site, replace(PLAIN, BATCH_RECORDS=10))
    assert [batch.count for batch in held(site)] == [10, 10, 5]
    assert groups(held(site)) == [25]
    assert names(held(site)) == [str(n) for n in range(25)]


def test_a_batch_has_no_more_bytes_than_it_may_but_for_a_large_row(site: str) -> None:
    long = "x" * 40
    add(site, "a", "b", long, "c", "d")
    size = len(Capture.objects.using(site).order_by("id").values_list("data", flat=True)[0])
    number(site, replace(PLAIN, BATCH_BYTES=2 * size))
    assert [batch.count for batch in held(site)] == [2, 1, 2]


def test_digests_chain_across_passes(site: str) -> None:
    for name in "abc":
        add(site, name)
        number(site)
    batches = held(site)
    assert [b.digest_before for b in batches[1:]] == [b.digest_after for b in batches[:-1]]
    assert store.head(site).digest == batches[-1].digest_after


def test_a_record_that_is_too_large_stops_the_numbering_and_stays(site: str) -> None:
    add(site, "a")
    number(site)
    add(site, "large" * 8, "b")
    with pytest.raises(SockstreamError, match="MAX_RECORD") as caught:
        number(site, replace(PLAIN, MAX_RECORD=30, BATCH_RECORDS=1))
    assert caught.value.code == "record-too-large"
    assert names(held(site)) == ["a"]
    assert Capture.objects.using(site).count() == 2
    number(site)
    assert names(held(site)) == ["a", "large" * 8, "b"]


@pytest.fixture
def small_packets(databases: Databases) -> Iterator[str]:
    """MariaDB with a small max_allowed_packet, as much as a site's default is to large rows."""
    site = "site_maria"
    databases.clean(site)
    connection = connections[site]
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        [before] = cursor.fetchone()
        cursor.execute("SET GLOBAL max_allowed_packet = 1048576")
    connection.close()
    yield site
    with connection.cursor() as cursor:
        cursor.execute("SET GLOBAL max_allowed_packet = %s", [before])
    connection.close()


def test_a_record_that_no_statement_holds_is_named(small_packets: str) -> None:
    Parameter.objects.using(small_packets).create(name="fits", value="y" * 500_000)
    assert number(small_packets) == 1
    for name in "abc":  # in batches of BATCH_BYTES, they would be too large together
        Parameter.objects.using(small_packets).create(name=name, value="y" * 200_000)
    assert number(small_packets) == 3
    Parameter.objects.using(small_packets).create(name="large", value="y" * 600_000)
    with pytest.raises(SockstreamError, match=r"zoo\.parameter .* 507,904") as caught:
        number(small_packets)
    assert caught.value.code == "record-too-large"
    assert "max_allowed_packet" in caught.value.mend


@pytest.fixture
def sqlite(databases: Databases) -> str:
    databases.clean("site_sqlite")
    return "site_sqlite"


def test_sqlite_cuts_a_pass_that_is_too_large(sqlite: str) -> None:
    add(sqlite, *map(str, range(25)))
    number(sqlite, replace(PLAIN, GROUP_RECORDS=10))
    assert groups(held(sqlite)) == [10, 10, 5]
    assert [batch.cut for batch in held(sqlite)] == [True, True, False]


def test_a_sender_that_dies_within_a_pass_leaves_a_group_that_the_next_one_ends(
    sqlite: str,
) -> None:
    add(sqlite, *map(str, range(25)))
    steps = Sequencer(sqlite, replace(PLAIN, BATCH_RECORDS=10)).steps()
    next(steps)
    del steps
    assert held(sqlite) == [], "half a group must not be sent"
    add(sqlite, "later")
    number(sqlite)
    assert groups(held(sqlite)) == [26]
    assert names(held(sqlite)) == [*map(str, range(25)), "later"]


@pytest.fixture
def postgresql(databases: Databases) -> str:
    databases.clean("site_pg")
    return "site_pg"


def test_postgresql_never_cuts_a_transaction(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockstream.sender.oplog.sequencer._PASS_RECORDS", 10)
    for start in range(0, 60, 15):
        with transaction.atomic(using=postgresql):
            for n in range(start, start + 15):
                add(postgresql, str(n))
    number(postgresql, replace(PLAIN, GROUP_RECORDS=10))
    assert groups(held(postgresql)) == [15, 15, 15, 15]
    # Central decides whether it may end there: a transaction may point to a row of a later one.
    assert [batch.cut for batch in held(postgresql)] == [True, True, True, False]


@pytest.mark.parametrize("analyzed", [False, True])
def test_a_pass_reads_little_of_a_large_backlog(
    analyzed: bool, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockstream.sender.oplog.sequencer._PASS_RECORDS", 10_000)
    rows = 100_000
    with connections[postgresql].cursor() as cursor:
        if analyzed:  # when there were few large transactions
            _capture(cursor, rows, of=rows)
            cursor.execute("ANALYZE sockstream_sender_capture")
            cursor.execute("DELETE FROM sockstream_sender_capture")
            cursor.execute("VACUUM sockstream_sender_capture")
        _capture(cursor, rows, of=20)
        sequencer = Sequencer(postgresql, PLAIN)
        with sequencer._snapshot():
            before = _read(cursor)
            _, more = sequencer._end()
            read = _read(cursor) - before
        cursor.execute("DELETE FROM sockstream_sender_capture")
    assert more
    assert 0 < read < rows / 2


def _read(cursor: CursorWrapper) -> int:
    """How many captured rows this connection has read."""
    cursor.execute(
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables "
        "WHERE relname = 'sockstream_sender_capture'"
    )
    return int(cursor.fetchone()[0])


def _capture(cursor: CursorWrapper, rows: int, *, of: int) -> None:
    """Rows of transactions with so many each."""
    cursor.execute(
        "INSERT INTO sockstream_sender_capture (txid, op, layout, data) "
        "SELECT n / %s, 'I', 1, '[]' FROM generate_series(0, %s) n",
        [of, rows - 1],
    )


def test_transactions_that_overlap_are_one_pass(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockstream.sender.oplog.sequencer._PASS_RECORDS", 1)
    other = connections.create_connection(postgresql)
    try:
        with transaction.atomic(using=postgresql):
            add(postgresql, "first")
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("INSERT INTO polls_tag VALUES (gen_random_uuid(), 'second')")
            add(postgresql, "third")
        with other.cursor() as cursor:
            cursor.execute("INSERT INTO polls_tag VALUES (gen_random_uuid(), 'fourth')")
            cursor.execute("COMMIT")
    finally:
        other.close()
    add(postgresql, "alone")
    number(postgresql)
    assert groups(held(postgresql)) == [4, 1]
    assert names(held(postgresql)) == ["first", "second", "third", "fourth", "alone"]


def test_a_transaction_that_commits_late_is_in_a_later_pass(postgresql: str) -> None:
    other = connections.create_connection(postgresql)
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO polls_tag VALUES (gen_random_uuid(), 'low id')")
            add(postgresql, "high id")
            assert number(postgresql) == 1
            cursor.execute("COMMIT")
        assert number(postgresql) == 1
    finally:
        other.close()
    assert names(held(postgresql)) == ["high id", "low id"]


def test_what_was_captured_before_a_new_epoch_is_left_to_its_snapshot(postgresql: str) -> None:
    """Also where it commits after the snapshot has begun, and is among a few rows."""
    add(postgresql, "old")
    layout = Capture.objects.using(postgresql).get().layout
    number(postgresql)
    other = connections.create_connection(postgresql)
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO polls_tag VALUES (gen_random_uuid(), 'late')")
            with transaction.atomic(using=postgresql):
                store.fork(postgresql)
                marks.put(postgresql, marks.BEGIN, [layout])
            cursor.execute("COMMIT")
    finally:
        other.close()
    assert number(postgresql) == 1
    batch = Batch.objects.using(postgresql).get()
    assert (batch.first_seq, batch.last_seq, batch.open) == (1, 1, True)


def test_what_commits_within_a_pass_is_not_removed_by_it(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = connections.create_connection(postgresql)
    encode = Sequencer._encode

    def commit_then_encode(self: Sequencer, *args: Any, **kwargs: Any) -> records.Batch:
        with other.cursor() as cursor:
            cursor.execute("COMMIT")
        return encode(self, *args, **kwargs)

    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO polls_tag VALUES (gen_random_uuid(), 'low id')")
        add(postgresql, "high id")
        monkeypatch.setattr(Sequencer, "_encode", commit_then_encode)
        number(postgresql)
        monkeypatch.undo()
    finally:
        other.close()
    number(postgresql)
    assert names(held(postgresql)) == ["high id", "low id"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda site: Capture.objects.using(site).update(layout=7),
            "layout 7, which is not stored",
        ),
        (lambda site: Capture.objects.using(site).update(op="?"), "has the operation '\\?'"),
        (
            lambda site: CaptureLayout.objects.using(site).update(definition="{"),
            "polls.tag is damaged",
        ),
        (lambda site: CaptureLayout.objects.using(site).update(definition="[]"), "is damaged"),
    ],
    ids=["layout", "op", "no JSON", "no definition"],
)
def test_what_nobody_of_ours_wrote_is_said_in_one_line(
    damage: Callable[[str], object], words: str, site: str
) -> None:
    add(site, "one")
    layouts = list(CaptureLayout.objects.using(site).all())
    try:
        damage(site)
        with pytest.raises(SockstreamError, match=words) as raised:
            number(site)
    finally:
        for layout in layouts:
            layout.save(using=site)
    assert raised.value.code == "capture-spoilt"
    assert Capture.objects.using(site).count() == 1
