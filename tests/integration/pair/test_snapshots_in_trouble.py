"""A snapshot in a database where others are in the way, and what is said of one that was ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import DatabaseError, connections

from polls.models import Tag
from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender import status
from sockstream.sender.capture import marks
from sockstream.sender.models import Capture
from sockstream.sender.oplog import snapshot
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.sender.oplog.snapshot import Snapshot
from tests.databases import Databases
from tests.integration.pair.ways import plain_connection

ROWS = 50
ONE_BY_ONE = Settings(MODELS=ours().MODELS, BATCH_RECORDS=1)

REFUSING = {
    "site_pg": [
        "CREATE SEQUENCE refusals",
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('refusals') % 3 = 0 THEN
            RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01';
        END IF;
        RETURN NEW; END $$""",
        "CREATE TRIGGER refuse BEFORE INSERT ON sockstream_sender_capture "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
    "site_maria": [
        "CREATE SEQUENCE refusals",
        """CREATE TRIGGER refuse BEFORE INSERT ON sockstream_sender_capture FOR EACH ROW
        IF NEXTVAL(refusals) % 3 = 0 THEN
            SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'Deadlock found';
        END IF""",
    ],
}
NOT_REFUSING = {
    "site_pg": ["DROP FUNCTION refuse() CASCADE", "DROP SEQUENCE refusals"],
    "site_maria": ["DROP TRIGGER refuse", "DROP SEQUENCE refusals"],
}


def execute(site: str, *statements: str) -> None:
    with connections[site].cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def tags(site: str, count: int) -> None:
    Tag.objects.using(site).bulk_create(Tag(name=str(n)) for n in range(count))
    Capture.objects.using(site).all().delete()


def saved(site: str) -> int:
    return Capture.objects.using(site).filter(op="S").count()


@pytest.fixture(params=["repeatable read", "serializable"])
def strict(request: pytest.FixtureRequest, databases: Databases) -> Iterator[str]:
    databases.clean("site_pg")
    tags("site_pg", ROWS)
    level = request.param
    execute("site_pg", f"ALTER DATABASE site_pg SET default_transaction_isolation = '{level}'")
    connections["site_pg"].close()
    yield "site_pg"
    execute("site_pg", "ALTER DATABASE site_pg RESET default_transaction_isolation")
    connections["site_pg"].close()


# At any other level PostgreSQL does so for each row that was changed while a part is being read.
REFUSING_OTHERS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
END IF;
RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON sockstream_sender_capture
FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def test_the_database_s_own_level_does_not_matter(strict: str) -> None:
    execute(strict, REFUSING_OTHERS)
    try:
        steps = list(Snapshot(strict, Settings(MODELS=ours().MODELS), ["polls.tag"]).steps())
    finally:
        execute(strict, "DROP FUNCTION refuse() CASCADE")
    assert steps == [0, ROWS]


@pytest.mark.parametrize("site", REFUSING, indirect=True)
def test_what_deadlocks_ended_is_taken_once_more(site: str) -> None:
    tags(site, 5)
    execute(site, *REFUSING[site])
    try:
        assert Snapshot(site, ONE_BY_ONE, ["polls.tag"]).take() == 5
    finally:
        execute(site, *NOT_REFUSING[site])
    assert saved(site) == 5
    assert sorted(Capture.objects.using(site).exclude(op="S").values_list("op", flat=True)) == [
        *(marks.BEGIN, marks.END, marks.LOAD)
    ]


@pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)
def test_a_lock_that_takes_too_long_is_waited_for(site: str) -> None:
    tags(site, 3)
    steps = Snapshot(site, ONE_BY_ONE, ["polls.tag"]).steps()
    assert next(steps) == 0
    execute(site, "PRAGMA busy_timeout = 1")
    try:
        with closing(plain_connection(site)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert [next(steps), next(steps)] == [None, None]
        assert sum(more or 0 for more in steps) == 3
    finally:
        connections[site].close()


def number(site: str) -> None:
    for _ in Sequencer(site, ONE_BY_ONE).steps():
        pass


def told(site: str) -> tuple[Any, Any]:
    [row] = status.report(site)
    return row["snapshot"], row["snapshot_error"]


def test_one_that_has_ended_is_not_called_unfinished_while_it_is_numbered(site: str) -> None:
    tags(site, 5)
    steps = Snapshot(site, ONE_BY_ONE, ["polls.tag"]).steps()
    next(steps)
    number(site)
    assert told(site) == ("running", "")
    for _ in steps:
        pass
    assert snapshot.unfinished(site) is None
    assert told(site) == ("", "")


def test_what_ended_one_too_early_is_told(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tags(site, 5)
    taking = Snapshot(site, ONE_BY_ONE, ["polls.tag"])
    steps = taking.steps()
    next(steps)

    def fail(*args: Any) -> None:
        raise DatabaseError("the disk said no")

    with monkeypatch.context() as patched:
        patched.setattr(marks, "put", fail)
        with pytest.raises(DatabaseError):
            next(steps)
    assert taking.begun
    number(site)
    state, error = told(site)
    assert state == "unfinished"
    assert "(the disk said no). oplog_send takes it anew" in error
    assert Snapshot(site, ONE_BY_ONE, ["polls.tag"]).take() == 5
    assert told(site) == ("", "")
