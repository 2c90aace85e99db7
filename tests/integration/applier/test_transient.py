"""Failures that are nobody's fault: no record is blamed, nothing is half done."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import ProgrammingError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

from sockstream.receiver.applying.applier import Retry, Stopped
from sockstream.receiver.models import Offset, State
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Parameter


def row() -> Parameter:
    return Parameter(name="key", value="value")


def test_sqlite_is_busy(databases: Databases) -> None:
    using = "central_sqlite"
    databases.clean(using)
    feed = Feed()
    applier = feed.applier(using)
    batch = feed.insert(row()).batch()
    with connections[using].cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(connections[using].settings_dict["NAME"], isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == "retry"
        other.execute("ROLLBACK")
    finally:
        other.close()
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 20000")
    assert applier.apply([batch]).offset == 1


def test_sqlite_begins_with_the_write_lock(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another writer's commit between our first read and our first write is fatal."""
    using = "central_sqlite"
    databases.clean(using)
    connections[using].ensure_connection()
    # "deferred", as Django has it by default
    monkeypatch.setattr(connections[using], "transaction_mode", None)
    try:
        feed = Feed()
        applier = feed.applier(using)
        batches = [feed.insert(Parameter(name=str(number))).batch() for number in range(60)]
        stop = threading.Event()
        writer = threading.Thread(target=_write_all_the_time, args=(using, stop))
        writer.start()
        try:
            for batch in batches:
                applier.apply([batch])
        finally:
            stop.set()
            writer.join(30)
        assert Offset.objects.using(using).get().seq == 60
    finally:
        connections[using].close()


def _write_all_the_time(using: str, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        Parameter.objects.using(using).create(name=f"central {number}")
    connections.close_all()


def test_sqlite_is_full(databases: Databases) -> None:
    using = "central_sqlite"
    databases.clean(using)
    feed = Feed()
    applier = feed.applier(using)
    batch = feed.insert(Parameter(name="big", value="x" * 4_000_000)).batch()
    with connections[using].cursor() as cursor:
        cursor.execute("VACUUM")  # what earlier tests have deleted is no room
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Retry) as failed:
        applier.apply([batch])
    assert failed.value.error.code == "disk-full"
    assert Offset.objects.using(using).get().state != State.STOPPED
    with connections[using].cursor() as cursor:
        cursor.execute("PRAGMA max_page_count = 1073741823")
    assert applier.apply([batch]).offset == 1


def test_sqlite_is_read_only(databases: Databases) -> None:
    using = "central_sqlite"
    databases.clean(using)
    feed = Feed()
    applier = feed.applier(using)
    batch = feed.insert(row()).batch()
    with connections[using].cursor() as cursor:
        cursor.execute("PRAGMA query_only = ON")
    try:
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == "db-readonly"
    finally:
        with connections[using].cursor() as cursor:
            cursor.execute("PRAGMA query_only = OFF")
    assert applier.apply([batch]).offset == 1


@pytest.fixture
def postgresql(databases: Databases) -> str:
    databases.clean("central_pg")
    return "central_pg"


@pytest.mark.parametrize(
    ("setting", "code"),
    [("default_transaction_read_only = on", "db-readonly"), ("lock_timeout = 100", "retry")],
)
def test_postgresql_will_not_now(setting: str, code: str, postgresql: str) -> None:
    feed = Feed()
    applier = feed.applier(postgresql)
    batch = feed.insert(row()).batch()
    other = connections.create_connection(postgresql)
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE zoo_parameter IN SHARE MODE")
    with connections[postgresql].cursor() as cursor:
        cursor.execute(f"SET {setting}")
    try:
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == code
    finally:
        other.close()
        connections[postgresql].close()
    assert Offset.objects.using(postgresql).get().state != State.STOPPED
    assert applier.apply([batch]).offset == 1


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("transaction_timeout = 300", "transaction timeout"),
        ("statement_timeout = 300", "statement timeout"),
    ],
)
def test_postgresql_ends_what_takes_too_long(setting: str, words: str, postgresql: str) -> None:
    """Its own words are told, not those about the connection that is lost by it."""
    feed = Feed()
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": "park"}):
        applier = feed.applier(postgresql)
    batch = feed.insert(row()).batch()
    with connections[postgresql].cursor() as cursor:
        cursor.execute(SLOW)
        cursor.execute(f"SET {setting}")
    try:
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
    finally:
        connections[postgresql].close()
        with connections[postgresql].cursor() as cursor:
            cursor.execute("DROP FUNCTION slow() CASCADE")
    assert failed.value.error.code == "retry"
    assert words in failed.value.error.words
    assert applier.apply([batch]).offset == 1


SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE INSERT ON zoo_parameter FOR EACH ROW EXECUTE FUNCTION slow();
"""


def test_postgresql_hangs_up(postgresql: str) -> None:
    feed = Feed()
    applier = feed.applier(postgresql)
    first = feed.insert(row()).batch(open=True)
    second = feed.insert(Parameter(name="second")).batch()
    applier.apply([first])
    with connections[postgresql].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connections.create_connection(postgresql)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    other.close()
    with pytest.raises(Retry) as failed:
        applier.apply([second])
    assert failed.value.error.code == "db-unavailable"
    assert applier.apply([first, second]).offset == 2
    assert Parameter.objects.using(postgresql).count() == 2


@pytest.mark.usefixtures("in_pieces")
def test_postgresql_sees_a_deadlock(postgresql: str) -> None:
    """Two rows, two transactions, the other way round."""
    feed = Feed()
    applier = feed.applier(postgresql)
    one, two = Parameter(name="one"), Parameter(name="two")
    applier.apply([feed.insert(one, two).batch()])
    batches = [feed.update(one).batch(open=True), feed.update(two).batch()]
    with connections[postgresql].cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '1s'")
    other = connections.create_connection(postgresql)
    other.inc_thread_sharing()
    with other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '20s'")
        other.set_autocommit(False)
        cursor.execute("SELECT 1 FROM zoo_parameter WHERE name = 'two' FOR UPDATE")
    waiting = threading.Thread(target=_lock_one, args=(postgresql, other))
    waiting.start()
    try:
        with pytest.raises(Retry) as failed:
            applier.apply(batches)
        assert failed.value.error.code == "retry"
    finally:
        waiting.join(30)
        other.close()
        connections[postgresql].close()
    assert applier.apply(batches).offset == 4


def _lock_one(using: str, other: BaseDatabaseWrapper) -> None:
    """When the applier waits for row two, wait for row one, which it has."""
    _until_somebody_waits(using)
    connections[using].close()
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM zoo_parameter WHERE name = 'one' FOR UPDATE")
    other.rollback()


def _until_somebody_waits(using: str) -> None:
    """Return when a transaction waits for the lock of another one."""
    until = time.monotonic() + 30
    with connections[using].cursor() as cursor:
        while time.monotonic() < until:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone() != (0,):
                return
    raise AssertionError("nobody waits")


def test_a_serialization_failure(postgresql: str) -> None:
    feed = Feed()
    applier = feed.applier(postgresql)
    parameter = row()
    applier.apply([feed.insert(parameter).batch()])
    first = feed.insert(Parameter(name="first")).batch(open=True)
    second = feed.update(parameter).batch()
    with connections[postgresql].cursor() as cursor:
        cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    applier.apply([first])

    def change(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        """Somebody else commits between the beginning of the transaction and its first row."""
        if "zoo_parameter" in sql:
            other = connections.create_connection(postgresql)
            with other.cursor() as cursor:
                cursor.execute("UPDATE zoo_parameter SET value = 'changed' WHERE name = 'key'")
            other.close()
        return execute(sql, *rest)

    try:
        with (
            connections[postgresql].execute_wrapper(change),
            pytest.raises(Retry) as failed,
        ):
            applier.apply([second])
        assert failed.value.error.code == "retry"
    finally:
        connections[postgresql].close()
    assert applier.apply([first, second]).offset == 3


@pytest.fixture
def refusing(postgresql: str) -> Iterator[Callable[..., str]]:
    """Let the next commits that insert parameters fail with these SQLSTATEs, one each."""

    def refuse(*states: str) -> str:
        with connections[postgresql].cursor() as cursor:
            cursor.execute(REFUSING.format(states=", ".join(f"'{state}'" for state in states)))
        return postgresql

    yield refuse
    with connections[postgresql].cursor() as cursor:
        cursor.execute("DROP FUNCTION refuse() CASCADE; DROP SEQUENCE refused")


# A sequence goes on counting when its transaction is rolled back.
REFUSING = """
CREATE SEQUENCE refused;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE state text := (ARRAY[{states}])[nextval('refused')];
BEGIN
    IF state IS NOT NULL THEN RAISE EXCEPTION 'refused' USING ERRCODE = state; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON zoo_parameter DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse();
"""
BLAMES, SERIALIZATION = "23514", "40001"


@pytest.mark.parametrize(
    ("on_error", "states"),
    [
        ("stop", [SERIALIZATION]),
        ("stop", [BLAMES, SERIALIZATION]),
        ("park", [BLAMES, BLAMES, SERIALIZATION]),
    ],
)
def test_a_commit_fails_for_now_at_any_attempt(
    on_error: str, states: list[str], refusing: Callable[..., str]
) -> None:
    using, feed = refusing(*states), Feed()
    batch = feed.insert(row()).batch()
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": on_error}):
        applier = feed.applier(using)
        with pytest.raises(Retry) as failed:
            applier.apply([batch])
        assert failed.value.error.code == "retry"
        assert Offset.objects.using(using).get().state != State.STOPPED
        assert applier.apply([batch]).offset == 1


@pytest.mark.parametrize("on_error", ["stop", "park"])
@pytest.mark.parametrize("state", [BLAMES, SERIALIZATION])
def test_the_commit_of_a_group_in_several_batches_fails_once(
    on_error: str, state: str, refusing: Callable[..., str]
) -> None:
    using, feed = refusing(state), Feed()
    first, last = feed.insert(row()).batch(open=True), feed.insert(Parameter(name="last")).batch()
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ON_ERROR": on_error}):
        applier = feed.applier(using)
        applier.apply([first])
        if state == SERIALIZATION:
            with pytest.raises(Retry) as failed:
                applier.apply([last])
            assert failed.value.error.code == "retry"
        assert applier.apply([last]).offset == 2
    offset = Offset.objects.using(using).get()
    assert offset.state != State.STOPPED
    assert (offset.parked, offset.records_applied) == (0, 2)


def test_a_commit_is_refused_and_nobody_knows_why(refusing: Callable[..., str]) -> None:
    """The last record of the group is named, for want of a better one."""
    using, feed = refusing(*[BLAMES] * 9), Feed()
    with pytest.raises(Stopped) as stopped:
        feed.applier(using).apply([feed.insert(row(), Parameter(name="last")).batch()])
    assert (stopped.value.key, stopped.value.seq) == ("last", 2)
    assert "refused" in stopped.value.error.words


def test_a_table_of_ours_is_gone(postgresql: str) -> None:
    """That is neither for now nor a record's fault: it goes up as it is."""
    feed = Feed()
    applier = feed.applier(postgresql)
    rename = "ALTER TABLE {} RENAME TO {}"
    ours, away = Offset._meta.db_table, "away"
    with connections[postgresql].cursor() as cursor:
        cursor.execute(rename.format(ours, away))
        try:
            with pytest.raises(ProgrammingError):
                applier.apply([feed.insert(row()).batch()])
        finally:
            cursor.execute(rename.format(away, ours))
    assert not Parameter.objects.using(postgresql).exists()


def test_inside_a_transaction_of_somebody_else_nothing_is_promised(central: str) -> None:
    feed = Feed()
    applier = feed.applier(central)
    batch = feed.insert(row()).batch()
    with transaction.atomic(using=central), pytest.raises(RuntimeError):
        applier.apply([batch])
    assert applier.apply([batch]).offset == 1
