"""The floor of a pass: what is below it is not read, and nothing that will be seen is below it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.conf import Settings
from sockstream.sender.models import Capture
from sockstream.sender.oplog.floor import Floor
from sockstream.sender.oplog.sequencer import Sequencer
from tests.databases import Databases
from tests.integration.pair.ways import plain_connection

SITE = "site_pg"
INSERT = (
    "INSERT INTO polls_tag SELECT gen_random_uuid(), gen_random_uuid() FROM generate_series(1, %s)"
)


@pytest.fixture(autouse=True)
def site(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.clean(SITE)
    monkeypatch.setattr("sockstream.sender.oplog.floor._STEP", 2)


@pytest.fixture
def floor() -> Floor:
    return Floor(SITE)


@pytest.fixture
def sequencer(floor: Floor) -> Sequencer:
    return Sequencer(SITE, Settings(MODELS=("polls",)), floor)


def other() -> Any:
    return closing(plain_connection(SITE))


def numbered(sequencer: Sequencer) -> int:
    return sum(sequencer.steps())


def add(count: int = 5) -> None:
    Tag.objects.using(SITE).bulk_create(Tag(name=str(uuid4())) for _ in range(count))


def read_by_index() -> int:
    """How many entries were read of the capture table's indexes, dead ones too."""
    with connections[SITE].cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE relname = %s",
            [Capture._meta.db_table],
        )
        return int(cursor.fetchone()[0])


def test_a_pass_does_not_read_what_older_ones_have_removed(sequencer: Sequencer) -> None:
    """Somebody's old snapshot keeps it: a dump that takes an hour, or a forgotten session."""
    with other() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        for _ in range(8):
            add(1_000)
            assert numbered(sequencer) == 1_000
        before = read_by_index()
        add(1)
        assert numbered(sequencer) == 1
        assert read_by_index() - before < 3_000
        reader.execute("ROLLBACK")


def test_it_stays_below_who_has_not_committed(sequencer: Sequencer, floor: Floor) -> None:
    with other() as late:
        late.execute("BEGIN")
        late.execute(INSERT, [3])
        for _ in range(4):
            add()
            assert numbered(sequencer) == 5
        assert floor.id == 0
        late.execute("COMMIT")
        assert numbered(sequencer) == 3
        add()
        assert numbered(sequencer) == 5
        assert floor.id > 0


@pytest.mark.parametrize("ends", ["before the pass", "within the pass", "after the pass"])
def test_whenever_the_late_one_commits(
    sequencer: Sequencer, floor: Floor, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    with other() as late:
        late.execute("BEGIN")
        late.execute(INSERT, [3])
        add()
        assert numbered(sequencer) == 5
        before_pass, snapshot = Floor.before_pass, Sequencer._before

        def look(self: Floor) -> None:
            before_pass(self)
            if ends == "before the pass":
                late.execute("COMMIT")

        def begin(self: Sequencer, each_part: Any) -> Any:
            found = snapshot(self, each_part)
            if ends == "within the pass":
                late.execute("COMMIT")
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Floor, "before_pass", look)
            patched.setattr(Sequencer, "_before", begin)
            count = numbered(sequencer)
        if ends == "after the pass":
            late.execute("COMMIT")
        add()
        count += numbered(sequencer) + numbered(sequencer)
    assert count == 5 + 3
    assert not Capture.objects.using(SITE).exists()


@pytest.fixture
def writers() -> Iterator[list[Any]]:
    several = [plain_connection(SITE) for _ in range(5)]
    for each in several:
        each.autocommit = False
    yield several
    for each in several:
        each.close()


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_left_out(sequencer: Sequencer, writers: list[Any], seed: int) -> None:
    """Transactions of any length, of which some give up, and passes in between."""
    chosen = random.Random(seed)
    written = 0
    open_: dict[int, int] = {}
    count = 0
    for _ in range(300):
        at = chosen.randrange(len(writers))
        match chosen.choice(["write", "write", "write", "end", "end", "pass", "pass"]):
            case "write":
                rows = chosen.randint(1, 4)
                writers[at].execute(INSERT, [rows])
                open_[at] = open_.get(at, 0) + rows
            case "end" if chosen.random() < 0.8:
                writers[at].commit()
                written += open_.pop(at, 0)
            case "end":
                writers[at].rollback()
                open_.pop(at, None)
            case _:
                count += numbered(sequencer)
    for each in writers:
        each.rollback()
    count += numbered(sequencer)
    assert count == written
    assert not Capture.objects.using(SITE).exists()
