"""Rows that take over each other's unique values: they make way, and nobody tries smaller parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.db import connections, models
from django.test import override_settings

from sockstream.receiver.applying.applier import Applier, Stopped
from sockstream.receiver.applying.tables import making_way
from sockstream.receiver.applying.tables.effects import Effect, Meetings
from sockstream.receiver.models import Offset, Parked, Reserved
from sockstream.receiver.parked import retry
from tests.integration.applier.feed import Feed
from tests.rivals.models import Coach, Flag, Locker, Nick, Runner, Souvenir, Supporter, Tile
from tests.zoo.models import Current, Slot


@pytest.fixture(autouse=True)
def rivals_too() -> Iterator[None]:
    with override_settings(
        SOCKSTREAM={"MODELS": ["zoo", "rivals"], "EXCLUDE": ["rivals.souvenir"]}
    ):
        yield


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the attempts to write some records at once met."""
    met: list[Exception] = []
    write = Effect.write

    def counted(self: Effect) -> Meetings:
        try:
            return write(self)
        except Exception as error:
            met.append(error)
            raise

    monkeypatch.setattr(Effect, "write", counted)
    return met


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models whose rows were looked at for who is in the way."""
    found: list[str] = []
    look = making_way.in_the_way

    def noted(plan: Any, *args: Any) -> Any:
        found.append(plan.label)
        return look(plan, *args)

    monkeypatch.setattr("sockstream.receiver.applying.tables.effects.in_the_way", noted)
    return found


def runners(count: int, **values: Any) -> list[Runner]:
    return [
        Runner(pkid=number, bib=number, title=f"runner {number}", lane=number, heat=1, **values)
        for number in range(count)
    ]


def swap(rows: Sequence[Any], *fields: str) -> None:
    """Each row takes over the fields of the one after it, the last one those of the first."""
    for field in fields:
        values = [getattr(row, field) for row in rows]
        for row, value in zip(rows, [*values[1:], values[0]], strict=True):
            setattr(row, field, value)


def pairs(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[start : start + 2] for start in range(0, len(rows) - 1, 2))


def brought(using: str, *rows: models.Model) -> tuple[Feed, Applier]:
    """A stream that has inserted these rows."""
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(*rows).batch()])
    return feed, applier


def values_of(model: type[models.Model], using: str, *fields: str) -> set[tuple[Any, ...]]:
    return set(model._default_manager.using(using).values_list(*fields))


def expected(rows: Sequence[Any], *fields: str) -> set[tuple[Any, ...]]:
    return {tuple(getattr(row, field) for field in fields) for row in rows}


def is_clean(using: str) -> bool:
    """Nobody met anything that he should not have, and no number is kept."""
    row = Offset.objects.using(using).get()
    met = (row.inserts_met, row.updates_missed, row.deletes_missed)
    return met == (0, 0, 0) and not Reserved.objects.using(using).exists()


@pytest.mark.parametrize("field", ["bib", "title", "lane"])
@pytest.mark.parametrize("circle", [2, 3])
@pytest.mark.parametrize("count", [6, 240])
def test_circles(
    field: str, circle: int, count: int, central: str, failed: list[Exception]
) -> None:
    """Of a number, a text and a part of a pair; in few records, and in many."""
    rows = runners(count)
    feed, applier = brought(central, *rows)
    numbers = values_of(Runner, central, "id", "pkid")
    for start in range(0, count, circle):
        swap(rows[start : start + circle], field)
    applier.apply([feed.update(*rows).batch()])
    assert values_of(Runner, central, "id", field) == expected(rows, "id", field)
    assert values_of(Runner, central, "id", "pkid") == numbers
    assert len(failed) == 1
    assert is_clean(central)


@pytest.mark.parametrize("groups", [1, 40])
def test_one_failure_however_many_swaps(groups: int, central: str, failed: list[Exception]) -> None:
    """In one group or in many, batch after batch."""
    rows = runners(400)
    feed, applier = brought(central, *rows)
    for _ in range(5):
        for pair in pairs(rows):
            swap(pair, "bib", "title", "lane")
        for start in range(0, 400, 400 // groups):
            feed.update(*rows[start : start + 400 // groups]).end()
        applier.apply([feed.batch()])
    fields = ("id", "bib", "title", "lane")
    assert values_of(Runner, central, *fields) == expected(rows, *fields)
    assert len(failed) == 1


def test_the_look_lapses(central: str, looks: list[str], failed: list[Exception]) -> None:
    """Where nobody is in the way any more, nobody looks; until the next time."""
    rows = runners(4)
    feed, applier = brought(central, *rows)

    def write(times: int) -> None:
        for _ in range(times):
            for row in rows:
                row.heat = (row.heat or 0) + 1
            applier.apply([feed.update(*rows).batch()])

    write(1)
    assert looks == []
    swap(rows[:2], "bib")
    write(100)
    looked = len(looks)
    assert 0 < looked < 100
    write(1)
    assert len(looks) == looked
    swap(rows[2:], "bib")
    write(1)
    assert len(looks) == looked + 1
    assert len(failed) == 2


def test_a_single_record_is_never_looked_at(central: str, looks: list[str]) -> None:
    rows = runners(3)
    feed, applier = brought(central, *rows)
    swap(rows[:2], "bib")
    applier.apply([feed.update(*rows).batch()])
    looked = len(looks)
    applier.apply([feed.update(rows[0]).batch()])
    assert len(looks) == looked


def test_all_move_up(central: str, failed: list[Exception]) -> None:
    """And the value that becomes free is given to a new row."""
    rows = runners(250)
    feed, applier = brought(central, *rows)
    for row in rows:
        row.bib += 1
    new = Runner(bib=0, title="new", lane=999)
    applier.apply([feed.update(*rows).insert(new).batch()])
    assert values_of(Runner, central, "id", "bib") == expected([*rows, new], "id", "bib")
    assert len(failed) == 1
    assert is_clean(central)


def points(using: str) -> set[tuple[Any, ...]]:
    return values_of(Supporter, using, "id", "runner__id", "loose__id")


@pytest.mark.parametrize("count", [2, 240])
def test_rows_that_others_point_to(count: int, central: str, failed: list[Exception]) -> None:
    """By foreign keys with and without a constraint, from the stream and from central's own."""
    rows = runners(count)
    fans = [Supporter(runner=row, loose=row) for row in rows]
    feed, applier = brought(central, *rows, *fans)
    for runner in Runner.objects.using(central).all():
        Souvenir.objects.using(central).create(runner=runner)
    kept = values_of(Souvenir, central, "id", "runner__id")
    for pair in pairs(rows):
        swap(pair, "bib")
    late = Supporter(runner=rows[0], loose=rows[1])
    fans[1].runner = rows[0]
    applier.apply([feed.update(*rows, fans[1]).insert(late).batch()])
    assert values_of(Runner, central, "id", "bib") == expected(rows, "id", "bib")
    wanted = {(fan.id, fan.runner.id, fan.loose.id) for fan in [*fans, late]}
    assert points(central) == wanted
    assert values_of(Souvenir, central, "id", "runner__id") == kept
    assert len(failed) == 1
    connections[central].check_constraints()


def test_partners_and_a_reference_that_is_unique(central: str, failed: list[Exception]) -> None:
    """One-to-one: within the table and into another one, together with what they point to."""
    one, two, three, four = rows = runners(4)
    one.partner, two.partner, three.partner = two, one, four
    boss, first, second = coaches = [Coach(runner=row, rank=n) for n, row in enumerate(rows[:3])]
    first.boss = second.boss = boss
    feed, applier = brought(central, *rows, *coaches)
    one.partner, two.partner, three.partner = four, three, two
    swap(rows, "bib")
    swap([first, second], "runner", "rank")
    applier.apply([feed.update(*rows, *coaches).batch()])
    assert values_of(Runner, central, "id", "bib", "partner__id") == {
        (row.id, row.bib, row.partner and row.partner.id) for row in rows
    }
    fields = ("id", "rank", "boss_id")
    assert values_of(Coach, central, *fields) == expected(coaches, *fields)
    assert values_of(Coach, central, "id", "runner__id") == {(c.id, c.runner.id) for c in coaches}
    assert len(failed) == 1
    connections[central].check_constraints()


KEYS: dict[str, tuple[Callable[[int, Runner], models.Model], str, str]] = {
    "integer": (lambda n, runner: Locker(id=n + 1, code=f"c{n}"), "id", "code"),
    "text": (lambda n, runner: Flag(country=f"Land {n}", place=n), "country", "place"),
    "composite": (
        lambda n, runner: Tile(runner=runner, number=n, colour=f"colour {n}"),
        "number",
        "colour",
    ),
    "uuid": (lambda n, runner: Slot(position=n, name=str(n)), "id", "position"),
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("count", [4, 210])
def test_keys_of_every_kind(kind: str, count: int, central: str, failed: list[Exception]) -> None:
    make, key, field = KEYS[kind]
    (runner,) = runners(1)
    rows = [make(n, runner) for n in range(count)]
    feed, applier = brought(central, runner, *rows)
    for pair in pairs(rows):
        swap(pair, field)
    applier.apply([feed.update(*rows).batch()])
    assert values_of(type(rows[0]), central, key, field) == expected(rows, key, field)
    assert len(failed) == 1
    assert is_clean(central)


@pytest.mark.parametrize("cut", [False, True])
def test_a_swap_beside_a_changed_key_and_a_row_made_again(
    cut: bool, central: str, failed: list[Exception]
) -> None:
    """In one group, all at once and in two batches."""
    rows = runners(6)
    fans = [Supporter(runner=row, loose=row) for row in rows[:4]]
    feed, applier = brought(central, *rows, *fans, Flag(country="old", place=7))
    swap(rows[:2], "bib", "title")
    again, gone = rows[2], rows[5]
    feed.delete(again, gone, Flag(country="old"))
    if cut:
        applier.apply([feed.batch(open=True)])
    again.bib, again.title = gone.bib, gone.title
    feed.insert(again, Flag(country="new", place=7)).update(*rows[:2])
    applier.apply([feed.batch()])
    assert values_of(Runner, central, "id", "bib") == expected(rows[:5], "id", "bib")
    assert points(central) == {(fan.id, fan.runner.id, fan.loose.id) for fan in fans}
    assert values_of(Flag, central, "country", "place") == {("new", 7)}
    assert len(failed) == 1
    assert is_clean(central)
    connections[central].check_constraints()


def test_a_stranger_that_holds_the_value_is_a_conflict(central: str) -> None:
    """A row of central's own never makes way: the record is named, what came before it is there."""
    rows = runners(220)
    feed, applier = brought(central, *rows)
    Runner.objects.using(central).create(bib=1_000, title="stranger", lane=1_000)
    swap(rows[:2], "bib")
    feed.update(*rows[:2]).end()
    rows[7].bib = 1_000
    swap(rows[10:200], "bib")
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.update(*rows[5:]).batch()])
    assert (stopped.value.model, stopped.value.key) == ("rivals.runner", str(rows[7].id))
    assert stopped.value.seq == 220 + 2 + 3
    found = dict(Runner.objects.using(central).values_list("id", "bib"))
    assert found[rows[0].id] == 1
    assert Runner.objects.using(central).get(bib=1_000).title == "stranger"
    assert found[rows[10].id] == 10


def test_columns_that_only_central_has_keep_their_values(central: str) -> None:
    """A row that holds such a value is not deleted: its records are written one by one."""
    rows = runners(4)
    feed, applier = brought(central, *rows)
    Runner.objects.using(central).update(heat=99)
    one, two = rows[:2]
    free = one.bib, two.bib
    one.bib = 500
    feed.update(one, without=["heat"])
    two.bib = free[0]
    feed.update(two, without=["heat"])
    one.bib = free[1]
    applier.apply([feed.update(one, without=["heat"]).batch()])
    assert values_of(Runner, central, "id", "bib", "heat") == {
        (row.id, row.bib, 99) for row in rows
    }


@pytest.mark.parametrize(
    ("install", "remove"),
    [
        (
            "ALTER TABLE rivals_runner ADD COLUMN remark varchar(20)",
            "ALTER TABLE rivals_runner DROP COLUMN remark",
        ),
        (
            "CREATE TABLE own (runner bigint REFERENCES rivals_runner (pkid) ON DELETE CASCADE)",
            "DROP TABLE own",
        ),
    ],
    ids=["a column that Django does not know", "a reference that the database follows"],
)
def test_what_deleting_would_lose(install: str, remove: str, central: str) -> None:
    rows = runners(2)
    feed, applier = brought(central, *rows)
    one, two = rows
    pkid = Runner.objects.using(central).get(id=one.id).pkid
    with connections[central].cursor() as cursor:
        cursor.execute(install)
    try:
        with connections[central].cursor() as cursor:
            if "remark" in install:
                cursor.execute("UPDATE rivals_runner SET remark = 'ours'")
                look = "SELECT count(*) FROM rivals_runner WHERE remark = 'ours'"
            else:
                cursor.execute("INSERT INTO own VALUES (%s), (%s)", [pkid, pkid])
                look = "SELECT count(*) FROM own"
        swap(rows, "bib")
        one.bib, wanted = 77, one.bib
        feed.update(one, two)
        one.bib = wanted
        applier.apply([feed.update(one).batch()])
        with connections[central].cursor() as cursor:
            cursor.execute(look)
            assert cursor.fetchone() == (2,)
    finally:
        with connections[central].cursor() as cursor:
            cursor.execute(remove)
    assert values_of(Runner, central, "id", "bib") == expected(rows, "id", "bib")


def test_a_trigger_of_central_s_own_sees_updates_only(central: str) -> None:
    rows = runners(2)
    feed, applier = brought(central, *rows)
    install, remove = DELETES[connections[central].vendor]
    with connections[central].cursor() as cursor:
        cursor.execute("CREATE TABLE seen (what text)")
        for sql in install:
            cursor.execute(sql)
    try:
        one, two = rows
        swap(rows, "bib")
        one.bib, wanted = 77, one.bib
        feed.update(one, two)
        one.bib = wanted
        applier.apply([feed.update(one).batch()])
        with connections[central].cursor() as cursor:
            cursor.execute("SELECT what FROM seen")
            assert list(cursor.fetchall()) == []
    finally:
        with connections[central].cursor() as cursor:
            for sql in remove:
                cursor.execute(sql)
            cursor.execute("DROP TABLE seen")
    assert values_of(Runner, central, "id", "bib") == expected(rows, "id", "bib")


DELETES = {
    "sqlite": (
        [
            "CREATE TRIGGER seen_it AFTER DELETE ON rivals_runner "
            "BEGIN INSERT INTO seen VALUES ('a delete'); END"
        ],
        ["DROP TRIGGER seen_it"],
    ),
    "postgresql": (
        [
            "CREATE FUNCTION seen_it() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO seen VALUES ('a delete'); RETURN OLD; END $$",
            "CREATE TRIGGER seen_it AFTER DELETE ON rivals_runner "
            "FOR EACH ROW EXECUTE FUNCTION seen_it()",
        ],
        ["DROP TRIGGER seen_it ON rivals_runner", "DROP FUNCTION seen_it()"],
    ),
    "mysql": (
        [
            "CREATE TRIGGER seen_it AFTER DELETE ON rivals_runner "
            "FOR EACH ROW INSERT INTO seen VALUES ('a delete')"
        ],
        ["DROP TRIGGER seen_it"],
    ),
}


@pytest.mark.parametrize("kind", ["expression", "condition"])
def test_what_is_not_looked_for_is_written_in_smaller_parts(kind: str, central: str) -> None:
    rows: list[Any]
    if kind == "expression":
        rows = [Nick(name=name) for name in ("Ann", "Bob", "Cid")]
    else:
        rows = [Current(owner=n, current=True) for n in range(3)]
    feed, applier = brought(central, *rows)
    field, free = ("name", "free") if kind == "expression" else ("owner", 99)
    old = [getattr(row, field) for row in rows]
    swap(rows[:2], field)
    wanted = getattr(rows[0], field)
    setattr(rows[0], field, free)
    feed.update(*rows[:2])
    setattr(rows[0], field, wanted)
    applier.apply([feed.update(rows[0]).batch()])
    assert values_of(type(rows[0]), central, "id", field) == expected(rows, "id", field)
    assert [getattr(row, field) for row in rows] != old


def test_parked_rows_that_swap_are_applied_together(central: str) -> None:
    """A value that one of them had in between is taken, so that no order of them would do."""
    rows = runners(4)
    taken = {"MODELS": ["zoo", "rivals"], "EXCLUDE": ["rivals.souvenir"], "ON_ERROR": "park"}
    with override_settings(SOCKSTREAM=taken):
        feed, applier = brought(central, *rows)
        Runner.objects.using(central).create(bib=7_000, title="taker", lane=7_000)
        one, two = rows[:2]
        for row, bib in ((one, 7_000), (two, 0), (one, 1)):
            row.bib = bib
            feed.update(row).end()
        applier.apply([feed.batch()])
        assert Parked.objects.using(central).count() == 2
        assert retry(central).applied == 2
    assert values_of(Runner, central, "id", "bib") > expected(rows, "id", "bib")
