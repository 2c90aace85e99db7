"""What only PostgreSQL has: TRUNCATE, roles, COPY, notifications, transactions with names."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction
from django.test import override_settings

from sockstream.sender import capture
from sockstream.sender.capture.dialects.plpgsql import CHANNEL, SLEEPS
from tests.integration.capture.replay import Record, State, replayed, take, truth
from tests.zoo.models import Author, Counter, Essay, Person, Pizza, Slot, Topping

pytestmark = pytest.mark.parametrize("site", ["site_pg"], indirect=True)


@pytest.fixture
def other(site: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of another program, in autocommit."""
    with closing(_connect(site)) as connection:
        yield connection


def _connect(using: str, **changes: Any) -> psycopg.Connection[Any]:
    params = connections[using].get_connection_params()
    wanted = {key: params[key] for key in ("host", "port", "user", "dbname")} | changes
    return psycopg.connect(**wanted, autocommit=True)


def test_truncate_is_one_mark_whatever_the_table_holds(
    site: str, other: psycopg.Connection[Any]
) -> None:
    for number in range(3):
        Slot.objects.using(site).create(position=number)
    before = replayed(take(site))
    other.execute("TRUNCATE zoo_slot")
    records = take(site)
    assert [record.op for record in records] == ["b", "e"]
    assert replayed(records, before) == truth(site) == {}


def test_truncate_takes_what_points_there(site: str, other: psycopg.Connection[Any]) -> None:
    author = Author.objects.using(site).create(name="a")
    Essay.objects.using(site).create(title="t", author=author).readers.add(author)
    before = replayed(take(site))
    other.execute("TRUNCATE zoo_author CASCADE")
    assert replayed(take(site), before) == truth(site) == {}


def test_truncate_that_is_rolled_back(site: str, other: psycopg.Connection[Any]) -> None:
    Slot.objects.using(site).create(position=1)
    take(site)
    with other.transaction(force_rollback=True):
        other.execute("TRUNCATE zoo_slot")
    assert take(site) == []


def test_copy(site: str, other: psycopg.Connection[Any]) -> None:
    with other.cursor().copy("COPY zoo_slot (id, position, name) FROM STDIN") as copy:
        for number in range(3):
            copy.write_row((uuid.uuid4(), number, f"100 % {number}"))
    assert replayed(take(site)) == truth(site)


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
def test_psql(site: str) -> None:
    settings = connections[site].settings_dict
    subprocess.run(
        ["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet", settings["NAME"]],
        input="INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'a'); "
        "BEGIN; UPDATE zoo_slot SET name = 'no'; ROLLBACK; "
        "UPDATE zoo_slot SET name = 'b'; MERGE INTO zoo_slot s USING (VALUES (1), (2)) v (p) "
        "ON s.position = v.p WHEN MATCHED THEN UPDATE SET name = 'merged' "
        "WHEN NOT MATCHED THEN INSERT VALUES (gen_random_uuid(), v.p, 'new');",
        env={
            **os.environ,
            "PGHOST": settings["HOST"],
            "PGPORT": str(settings["PORT"]),
            "PGUSER": settings["USER"],
        },
        text=True,
        check=True,
        timeout=20,
    )
    assert replayed(take(site)) == truth(site)


def test_a_transaction_has_one_name(site: str) -> None:
    with transaction.atomic(using=site):
        for number in range(2):
            Slot.objects.using(site).create(position=number)
            with transaction.atomic(using=site):
                Topping.objects.using(site).create(name=str(number))
    Slot.objects.using(site).create(position=9)
    names = [record.txid for record in take(site)]
    assert len(set(names[:4])) == 1
    assert names[4] != names[0]


def test_a_statement_notifies_once_at_its_commit_while_a_sender_sleeps(
    site: str, other: psycopg.Connection[Any]
) -> None:
    other.execute(f"LISTEN {CHANNEL}")
    Slot.objects.using(site).create()
    assert list(other.notifies(timeout=0.05)) == []
    other.execute(f"SELECT pg_advisory_lock_shared({SLEEPS})")
    with transaction.atomic(using=site):
        Slot.objects.using(site).bulk_create(Slot(position=number) for number in range(50))
        assert list(other.notifies(timeout=0.05)) == []
    [notice] = other.notifies(timeout=5, stop_after=1)
    assert notice.payload == ""
    other.execute(f"SELECT pg_advisory_unlock_shared({SLEEPS})")
    Slot.objects.using(site).create()
    assert list(other.notifies(timeout=0.05)) == []


@contextmanager
def _role(using: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of a role that may write to one table, and nothing else."""
    with connections[using].cursor() as cursor:
        cursor.execute("CREATE ROLE clerk LOGIN")
        cursor.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON zoo_slot TO clerk")
        cursor.execute("GRANT CREATE ON SCHEMA public TO clerk")
        try:
            with closing(_connect(using, user="clerk")) as connection:
                yield connection
        finally:
            cursor.execute("DROP OWNED BY clerk CASCADE")
            cursor.execute("DROP ROLE clerk")


def test_a_writer_needs_no_rights_on_what_captures(site: str) -> None:
    with _role(site) as clerk:
        clerk.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'a')")
        clerk.execute("UPDATE zoo_slot SET name = 'b'")
        clerk.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 2, 'a')")
        clerk.execute("DELETE FROM zoo_slot WHERE position = 2")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            clerk.execute("SELECT * FROM sockstream_sender_capture")
    assert replayed(take(site)) == truth(site)


def test_nobody_else_makes_a_trigger_of_our_functions(site: str) -> None:
    with _role(site) as clerk:
        clerk.execute("CREATE TABLE forged (id uuid, position integer, name text)")
        [(function,)] = clerk.execute(
            "SELECT proname FROM pg_proc WHERE proname LIKE 'sockstream_zoo_slot%'"
        ).fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            clerk.execute(
                f"CREATE TRIGGER forged AFTER INSERT ON forged FOR EACH ROW "
                f'EXECUTE FUNCTION public."{function}"()'
            )


def test_a_writers_own_objects_do_not_stand_in_for_ours(site: str) -> None:
    """Functions and tables of the same names, found first on the writer's search_path."""
    with _role(site) as clerk:
        clerk.execute("CREATE TEMP TABLE sockstream_sender_capture (id int, data text)")
        clerk.execute(
            "CREATE FUNCTION public.pg_current_xact_id() RETURNS xid8 "
            "LANGUAGE sql AS $$ SELECT '1'::xid8 $$"
        )
        clerk.execute("SET search_path = pg_temp, public, pg_catalog")
        clerk.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'a')")
    [record] = take(site)
    assert record.txid != 1
    assert replayed([record]) == truth(site)


@contextmanager
def _own_trigger(using: str, name: str, when: str, body: str) -> Iterator[None]:
    """The application has a trigger on zoo_slot."""
    with connections[using].cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF pg_trigger_depth() < 2 THEN {body}; END IF; RETURN NEW; END $$"
        )
        cursor.execute(
            f'CREATE TRIGGER "{name}" {when} ON zoo_slot FOR EACH ROW EXECUTE FUNCTION own()'
        )
        try:
            yield
        finally:
            cursor.execute("DROP FUNCTION own CASCADE")


def test_a_row_is_captured_before_other_triggers_change_it(site: str) -> None:
    body = "UPDATE zoo_slot SET name = upper(NEW.name) WHERE id = NEW.id"
    with _own_trigger(site, "00_a", "AFTER INSERT", body):
        Slot.objects.using(site).create(name="quiet")
    assert replayed(take(site)) == truth(site)


@pytest.mark.parametrize("name", [" first", "last"])
@pytest.mark.parametrize("when", ["BEFORE INSERT", "AFTER INSERT", "AFTER UPDATE"])
@pytest.mark.parametrize(
    "body",
    [
        "DELETE FROM zoo_slot WHERE position < NEW.position - 1",
        "DELETE FROM zoo_slot",
        "UPDATE zoo_slot SET name = name || NEW.position",
        "UPDATE zoo_slot SET id = gen_random_uuid() WHERE position <> NEW.position",
        "INSERT INTO zoo_slot SELECT id, position, 'again' FROM zoo_slot s "
        "WHERE s.position = NEW.position + 1 ON CONFLICT (id) DO UPDATE SET name = 'again'",
    ],
    ids=["some go", "all go", "all change", "keys change", "upsert"],
)
def test_what_other_triggers_do_to_the_rows_of_a_statement(
    site: str, name: str, when: str, body: str
) -> None:
    """The last that is captured of each row is how it is, and a row that is gone stays so."""
    Slot.objects.using(site).bulk_create(Slot(position=number) for number in range(3))
    before = replayed(take(site))
    with _own_trigger(site, name, when, body):
        Slot.objects.using(site).bulk_create(Slot(position=number) for number in range(5, 9))
        Slot.objects.using(site).filter(position__gt=0).update(name="b")
    assert _ends(take(site), before) == truth(site)


def test_serializable_transactions_are_not_in_each_others_way(site: str) -> None:
    """They insert in turns, which without capture is nothing that could not be serial."""
    with closing(_connect(site)) as one, closing(_connect(site)) as other:
        for each in (one, other):
            each.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        for each in (one, other) * 3:
            each.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), NULL, '')")
        for each in (one, other):
            each.execute("COMMIT")
    assert replayed(take(site)) == truth(site)
    assert len(truth(site)) == 6


def _ends(records: list[Record], before: State) -> State:
    """The rows that the records leave, whatever was there."""
    state = dict(before)
    for record in records:
        state.pop((record.model, record.key), None)
        if record.values is not None:
            state[record.model, record.key] = record.values
    return state


def test_rows_that_logical_replication_writes(site: str, other: psycopg.Connection[Any]) -> None:
    other.execute("SET session_replication_role = replica")
    other.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'a')")
    assert replayed(take(site)) == truth(site)


def test_tables_of_a_schema_that_is_not_searched(site: str) -> None:
    """Capture goes on for a table that was moved out of the way of the session's search_path."""
    with connections[site].cursor() as cursor:
        cursor.execute("CREATE SCHEMA elsewhere")
        cursor.execute("ALTER TABLE zoo_slot SET SCHEMA elsewhere")
        cursor.execute("ALTER DATABASE site_pg SET search_path = public, elsewhere")
    connections[site].close()
    try:
        assert capture.drift(site) != []
        capture.install(site)
        assert capture.drift(site) == []
        Slot.objects.using(site).create(position=1)
        assert replayed(take(site)) == truth(site)
    finally:
        with connections[site].cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere.zoo_slot SET SCHEMA public")
            cursor.execute("DROP SCHEMA elsewhere CASCADE")
            cursor.execute("ALTER DATABASE site_pg RESET search_path")
        connections[site].close()
        capture.install(site)


def test_a_changed_integer_key(site: str, other: psycopg.Connection[Any]) -> None:
    Counter.objects.using(site).create(id=1, name="a")
    Counter.objects.using(site).create(id=3, name="b")
    before = replayed(take(site))
    other.execute("UPDATE zoo_counter SET id = id + 10")
    assert replayed(take(site), before) == truth(site)


def test_pairs_of_a_symmetrical_relation(site: str) -> None:
    one, two = (Person.objects.using(site).create(name=name) for name in "ab")
    one.friends.add(two)
    one.friends.clear()
    Pizza.objects.using(site).create(name="p").toppings.create(name="t")
    assert replayed(take(site)) == truth(site)


def test_installed_while_foreign_keys_are_still_to_be_checked(site: str) -> None:
    """As in a migration that writes rows of a model that is captured from now on."""
    with override_settings(SOCKSTREAM={"MODELS": ["zoo"], "EXCLUDE": ["zoo.essay"]}):
        capture.install(site)
    with transaction.atomic(using=site):
        author = Author.objects.using(site).create(name="a")
        Essay.objects.using(site).create(title="t", author=author)
        capture.install(site)
        # They are still checked at the end.
        Essay.objects.using(site).create(title="u", author_id=author.pk + 1)
        Author.objects.using(site).create(pk=author.pk + 1, name="b")
    assert capture.drift(site) == []
    take(site)
