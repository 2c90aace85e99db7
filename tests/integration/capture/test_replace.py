"""SQLite's REPLACE takes rows away without a delete trigger; each of them is captured."""

from __future__ import annotations

import sqlite3
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from django.db import connections

from sockstream.sender import capture
from tests.integration.capture.replay import State, replayed, take, truth
from tests.zoo.models import Author, Counter, Current, Pairing, Parameter, Slot

pytestmark = pytest.mark.parametrize("site", ["site_sqlite"], indirect=True)

ONE, TWO, THREE = (uuid.UUID(int=number) for number in (1, 2, 3))


@pytest.fixture(params=[False, True], ids=["plain", "recursive"])
def run(site: str, request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Runs a statement on a connection of another program, with recursive_triggers as it may be."""
    path = connections[site].settings_dict["NAME"]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA recursive_triggers = {int(request.param)}")
        other.execute("PRAGMA foreign_keys = ON")

        def run(sql: str) -> None:
            other.executescript(sql)

        yield run


def _slots(using: str, **positions: int | None) -> State:
    for name, position in positions.items():
        number = {"one": ONE, "two": TWO, "three": THREE}[name]
        Slot.objects.using(using).create(id=number, name=name, position=position)
    return replayed(take(using))


def test_a_row_of_the_same_key_is_replaced(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1)
    run(f"REPLACE INTO zoo_slot (id, name, position) VALUES ('{ONE.hex}', 'new', 1)")
    assert replayed(take(site), before) == truth(site, [Slot])


def test_a_row_of_another_key_is_replaced(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1)
    run(f"REPLACE INTO zoo_slot (id, name, position) VALUES ('{TWO.hex}', 'new', 1)")
    records = take(site)
    assert [record.op for record in records] == ["D", "I"]
    assert replayed(records, before) == truth(site, [Slot])


def test_two_rows_are_replaced_by_one(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1, two=2)
    run(f"INSERT OR REPLACE INTO zoo_slot (id, name, position) VALUES ('{ONE.hex}', 'new', 2)")
    records = take(site)
    assert replayed(records, before) == truth(site, [Slot])
    assert len(truth(site, [Slot])) == 1


def test_an_update_replaces(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1, two=2, three=3)
    run("UPDATE OR REPLACE zoo_slot SET position = 2 WHERE position = 3")
    records = take(site)
    assert [record.op for record in records] == ["D", "U"]
    before = replayed(records, before)
    assert before == truth(site, [Slot])
    run(f"INSERT INTO zoo_slot (id, name, position) VALUES ('{TWO.hex}', 'new', 7)")
    assert replayed(take(site), before) == truth(site, [Slot])


def test_an_update_of_the_key_replaces(site: str, run: Callable[[str], None]) -> None:
    Parameter.objects.using(site).create(name="a", value="1")
    Parameter.objects.using(site).create(name="b", value="2")
    before = replayed(take(site))
    run("UPDATE OR REPLACE zoo_parameter SET name = 'b' WHERE name = 'a'")
    assert replayed(take(site), before) == truth(site, [Parameter])


def test_an_integer_key_is_replaced(site: str, run: Callable[[str], None]) -> None:
    Counter.objects.using(site).create(id=7, name="a")
    Counter.objects.using(site).create(id=8, name="b")
    before = replayed(take(site))
    run("REPLACE INTO zoo_counter (id, name, value) VALUES (7, 'new', 1)")
    run("UPDATE OR REPLACE zoo_counter SET id = 8 WHERE id = 7")
    assert replayed(take(site), before) == truth(site, [Counter])


def test_the_local_key_is_taken_over_by_another_row(site: str, run: Callable[[str], None]) -> None:
    Author.objects.using(site).create(pkid=5, id=ONE, name="a")
    before = replayed(take(site))
    run(f"REPLACE INTO zoo_author (pkid, id, name) VALUES (5, '{TWO.hex}', 'b')")
    assert replayed(take(site), before) == truth(site, [Author])
    assert len(truth(site, [Author])) == 1


def test_an_index_of_two_columns(site: str, run: Callable[[str], None]) -> None:
    for left, right in ((1, 1), (1, 2), (1, None)):
        Pairing.objects.using(site).create(left=left, right=right)
    before = replayed(take(site))
    values = f"('{ONE.hex}', 1, 2), ('{TWO.hex}', 1, NULL), ('{THREE.hex}', 1, 2)"
    run(f'REPLACE INTO zoo_pairing (id, "left", "right") VALUES {values}')
    assert replayed(take(site), before) == truth(site, [Pairing])
    assert len(truth(site, [Pairing])) == 4


def test_an_index_of_some_rows(site: str, run: Callable[[str], None]) -> None:
    for current in (True, False, False):
        Current.objects.using(site).create(owner=1, current=current)
    before = replayed(take(site))
    run(f"REPLACE INTO zoo_current (id, owner, current) VALUES ('{ONE.hex}', 1, 1)")
    run(f"REPLACE INTO zoo_current (id, owner, current) VALUES ('{TWO.hex}', 1, 0)")
    records = take(site)
    assert [record.op for record in records] == ["D", "I", "I"]
    assert replayed(records, before) == truth(site, [Current])


@contextmanager
def _index(using: str, sql: str) -> Iterator[None]:
    with connections[using].cursor() as cursor:
        cursor.execute(f"CREATE UNIQUE INDEX added {sql}")
        capture.install(using)
        try:
            yield
        finally:
            cursor.execute("DROP INDEX added")
            capture.install(using)


@pytest.mark.parametrize(
    "index",
    [
        "ON zoo_slot (lower(name))",
        "ON zoo_slot (lower(name) DESC, position)",
        "ON zoo_slot (name COLLATE NOCASE)",
        "ON zoo_slot ((position + 0), lower(name)) WHERE name <> 'x, (y) WHERE'",
        "ON zoo_slot (substr(name, 1, 3)) WHERE position > 0",
    ],
)
def test_an_index_of_expressions(site: str, run: Callable[[str], None], index: str) -> None:
    with _index(site, index):
        before = _slots(site, one=1, two=2)
        run(
            f"INSERT INTO zoo_slot (id, name, position) VALUES ('{THREE.hex}', 'ONE', 1) "
            "ON CONFLICT DO NOTHING"
        )
        run("UPDATE OR REPLACE zoo_slot SET name = 'oNE', position = 1 WHERE name = 'two'")
        run(f"REPLACE INTO zoo_slot (id, name, position) VALUES ('{THREE.hex}', 'oNe', 1)")
        assert replayed(take(site), before) == truth(site, [Slot])


def test_what_was_ignored_leaves_no_false_delete(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1, two=2)
    run(f"INSERT OR IGNORE INTO zoo_slot (id, name, position) VALUES ('{THREE.hex}', 'x', 1)")
    assert take(site) == []
    run("DELETE FROM zoo_slot WHERE position = 1")
    run(f"INSERT INTO zoo_slot (id, name, position) VALUES ('{THREE.hex}', 'x', 1)")
    run(f"INSERT OR IGNORE INTO zoo_slot (id, name, position) VALUES ('{ONE.hex}', 'x', 2)")
    run("UPDATE zoo_slot SET position = 9 WHERE position = 2")
    run(f"INSERT INTO zoo_slot (id, name, position) VALUES ('{ONE.hex}', 'x', 2)")
    assert replayed(take(site), before) == truth(site, [Slot])


def test_a_plain_insert_that_fails_leaves_nothing(site: str, run: Callable[[str], None]) -> None:
    _slots(site, one=1)
    with pytest.raises(sqlite3.IntegrityError):
        run(f"INSERT INTO zoo_slot (id, name, position) VALUES ('{TWO.hex}', 'x', 1)")
    assert take(site) == []


def test_an_upsert_is_an_update(site: str, run: Callable[[str], None]) -> None:
    before = _slots(site, one=1, two=2)
    run(
        f"INSERT INTO zoo_slot (id, name, position) VALUES ('{THREE.hex}', 'x', 1) "
        "ON CONFLICT (position) DO UPDATE SET name = 'upserted'"
    )
    records = take(site)
    assert [record.op for record in records] == ["U"]
    assert replayed(records, before) == truth(site, [Slot])


def test_the_children_of_a_replaced_row_go_with_it(site: str, run: Callable[[str], None]) -> None:
    """Foreign keys that cascade in the database do so for REPLACE, too."""
    hive, bee = uuid.uuid4().hex, uuid.uuid4().hex
    run(f"INSERT INTO zoo_raw_hive (id, name) VALUES ('{hive}', 'a')")
    run(f"INSERT INTO zoo_raw_bee (id, name, hive_id) VALUES ('{bee}', 'b', '{hive}')")
    before = replayed(take(site))
    run(f"REPLACE INTO zoo_raw_hive (id, name) VALUES ('{hive}', 'c')")
    assert replayed(take(site), before) == truth(site)
    assert len(truth(site)) == 1


def test_the_shell_of_sqlite_writes(site: str) -> None:
    """Triggers use built-in functions alone, since other programs register none."""
    before = _slots(site, one=1)
    subprocess.run(
        ["sqlite3", "-batch", connections[site].settings_dict["NAME"]],
        input=f"REPLACE INTO zoo_slot (id, name, position) VALUES ('{TWO.hex}', '100 %', 1);\n"
        "UPDATE zoo_slot SET name = name || char(9) || 'ü';",
        text=True,
        check=True,
        timeout=20,
    )
    assert replayed(take(site), before) == truth(site, [Slot])


@pytest.mark.parametrize("first", [True, False])
def test_a_row_that_another_trigger_changes(
    site: str, run: Callable[[str], None], first: bool
) -> None:
    """SQLite has no order of triggers; whichever comes first, the row's last state is captured."""
    trigger = (
        "CREATE TRIGGER shout AFTER INSERT ON zoo_slot FOR EACH ROW BEGIN "
        "UPDATE zoo_slot SET name = upper(name) WHERE id = NEW.id; END"
    )
    if first:
        capture.remove(site)
    run(trigger)
    capture.install(site)
    try:
        Slot.objects.using(site).create(name="quiet")
    finally:
        run("DROP TRIGGER shout")
    last = {record.key: record.values for record in take(site)}
    assert [values["name"] for values in last.values()] == ["QUIET"]
