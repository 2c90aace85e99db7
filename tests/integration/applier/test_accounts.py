"""Rows that central's table keeps out or keeps in without an error: the record is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset, Parked
from sockstream.receiver.parked import retry
from sockstream.wire.records import BEGIN, END, LOAD, SAVE, Layout
from tests.conftest import on_centrals
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.rivals.models import Runner
from tests.zoo.models import Author, Essay, Slot, Topping, Tree

Make = Callable[[str], Any]

# A trigger of MySQL's or MariaDB's can refuse a row, but it cannot leave one out without an error.
with_such_triggers = on_centrals("central_sqlite", "central_pg")
KINDS: dict[str, Make] = {
    "uuid": lambda name: Tree(name=name),
    "numbered": lambda name: Author(name=name),
}


@contextmanager
def swallowing(using: str, table: str, event: str, when: str) -> Iterator[None]:
    """A trigger that lets an event not happen, and says nothing."""
    connection = connections[using]
    if connection.vendor == "sqlite":
        install = [
            f"CREATE TRIGGER swallow BEFORE {event} ON {table} WHEN {when} "
            "BEGIN SELECT RAISE(IGNORE); END"
        ]
        remove = ["DROP TRIGGER swallow"]
    else:
        install = [
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$",
            f"CREATE TRIGGER swallow BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) "
            "EXECUTE FUNCTION swallow()",
        ]
        remove = [f"DROP TRIGGER swallow ON {table}", "DROP FUNCTION swallow()"]
    with running(using, install, remove):
        yield


@contextmanager
def running(using: str, install: Sequence[str], remove: Sequence[str]) -> Iterator[None]:
    with connections[using].cursor() as cursor:
        for sql in install:
            cursor.execute(sql)
    try:
        yield
    finally:
        with connections[using].cursor() as cursor:
            for sql in remove:
                cursor.execute(sql)


def refused(stopped: Stopped, row: Any, label: str, seq: int) -> bool:
    """The stop names the record, and what may have done it."""
    error = stopped.error
    words = f"{error.words} {error.mend}"
    return (
        (error.code, stopped.model, stopped.key, stopped.seq)
        == ("record-refused", label, str(row.id), seq)
        and all(word in words for word in (label, str(row.id), "trigger", "row-level security"))
        and "no error" in words
    )


@with_such_triggers
@pytest.mark.parametrize("beside", [1, 250])
@pytest.mark.parametrize("kind", KINDS)
def test_an_insert(kind: str, beside: int, central: str) -> None:
    make = KINDS[kind]
    rows = [make(f"row {n}") for n in range(beside)]
    bad = make("skip")
    feed = Feed().insert(*rows[: beside // 2], bad, *rows[beside // 2 :])
    label, table = bad._meta.label_lower, bad._meta.db_table
    with swallowing(central, table, "INSERT", "NEW.name = 'skip'"):
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply([feed.batch()])
        assert refused(stopped.value, bad, label, beside // 2 + 1)
        assert not type(bad)._default_manager.using(central).exists()
        assert Offset.objects.using(central).get().error_key == str(bad.id)
    feed.applier(central).apply(feed.sent)
    assert type(bad)._default_manager.using(central).count() == beside + 1


@with_such_triggers
@pytest.mark.parametrize("beside", [1, 250])
@pytest.mark.parametrize("kind", KINDS)
def test_an_update(kind: str, beside: int, central: str) -> None:
    """Also of a row that central did not have: it is inserted, and that is swallowed too."""
    make = KINDS[kind]
    rows = [make(f"row {n}") for n in range(beside)]
    bad, absent = make("before"), make("absent")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows, bad).batch()])
    label, table = bad._meta.label_lower, bad._meta.db_table
    bad.name = "skip"
    feed.update(*rows, bad)
    with swallowing(central, table, "UPDATE", "NEW.name = 'skip'"):
        with pytest.raises(Stopped) as stopped:
            applier.apply([feed.batch()])
        assert refused(stopped.value, bad, label, 2 * beside + 2)
    applier.apply(feed.sent)
    feed.update(absent)
    with swallowing(central, table, "INSERT", "NEW.name = 'absent'"):
        with pytest.raises(Stopped) as stopped:
            applier.apply([feed.batch()])
        assert refused(stopped.value, absent, label, 2 * beside + 3)
    found = set(type(bad)._default_manager.using(central).values_list("name", flat=True))
    assert "absent" not in found
    assert "skip" in found


@with_such_triggers
def test_an_insert_of_a_row_that_is_there_and_stays_as_it_is(central: str) -> None:
    there = Tree(name="site")
    Tree.objects.using(central).create(id=there.id, name="central")
    feed = Feed().insert(Tree(name="other"), there)
    adopting = override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ADOPT": True})
    with adopting, swallowing(central, "zoo_tree", "UPDATE", "NEW.name = 'site'"):
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply([feed.batch()])
        assert refused(stopped.value, there, "zoo.tree", 2)


@with_such_triggers
@pytest.mark.parametrize("beside", [0, 250])
@pytest.mark.parametrize("kind", KINDS)
def test_a_delete(kind: str, beside: int, central: str) -> None:
    make = KINDS[kind]
    rows = [make(f"row {n}") for n in range(beside)]
    bad, missing = make("keep"), make("nobody")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows, bad).batch()])
    label, table = bad._meta.label_lower, bad._meta.db_table
    feed.delete(missing, *rows, bad)
    with swallowing(central, table, "DELETE", "OLD.name = 'keep'"):
        with pytest.raises(Stopped) as stopped:
            applier.apply([feed.batch()])
        assert refused(stopped.value, bad, label, 2 * beside + 3)
    applier.apply(feed.sent)
    assert not type(bad)._default_manager.using(central).exists()
    assert Offset.objects.using(central).get().deletes_missed == 1


@with_such_triggers
def test_a_row_that_came_and_went_and_was_there_before(central: str) -> None:
    passing = Tree(name="keep")
    Tree.objects.using(central).create(id=passing.id, name="keep")
    feed = Feed().insert(Tree(name="other"), passing).delete(passing)
    batch, trigger = feed.batch(), swallowing(central, "zoo_tree", "DELETE", "OLD.name = 'keep'")
    adopting = override_settings(SOCKSTREAM={"MODELS": ["zoo"], "ADOPT": True})
    with adopting, trigger, pytest.raises(Stopped) as stopped:
        feed.applier(central).apply([batch])
    assert (stopped.value.error.code, stopped.value.key) == ("record-refused", str(passing.id))


@with_such_triggers
def test_a_row_that_makes_way_and_does_not_come_back(central: str) -> None:
    """Its trigger is of central's own, so that it does not make way; its update is swallowed."""
    rows = [Topping(name=name) for name in ("one", "two", "three")]
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*rows).batch()])
    rows[0].name, rows[1].name, rows[2].name = "two", "three", "skip"
    trigger = swallowing(central, "zoo_topping", "UPDATE", "NEW.name = 'skip'")
    with trigger, pytest.raises(Stopped) as stopped:
        applier.apply([feed.update(*reversed(rows)).batch()])
    assert (stopped.value.key, stopped.value.seq) == (str(rows[2].id), 4)


@with_such_triggers
def test_a_row_with_a_number_that_was_drawn(central: str) -> None:
    """An insert under a number that others point to already."""
    author = Author(name="skip")
    essay = Essay(title="first", author=author)
    layout = Layout("zoo.essay", ("id",), ("title", "author", "editor"))
    feed = Feed().raw(1, layout, (essay.id.bytes, essay.title, author.id.bytes, None))
    batches = [feed.batch(open=True), feed.insert(author).batch()]
    with swallowing(central, "zoo_author", "INSERT", "NEW.name = 'skip'"):
        with pytest.raises(Stopped) as stopped:
            feed.applier(central).apply(batches)
        assert refused(stopped.value, author, "zoo.author", 2)


@with_such_triggers
def test_a_row_of_a_snapshot_and_one_that_it_takes_away(central: str) -> None:
    kept, new = Tree(name="keep"), Tree(name="skip")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(kept).batch()])
    layout = Layout("zoo.tree", ("id",), ("name",))
    feed.raw(BEGIN, layout, ()).raw(LOAD, layout, ())
    feed.raw(SAVE, layout, (new.id.bytes, new.name)).raw(END, layout, ())
    with swallowing(central, "zoo_tree", "INSERT", "NEW.name = 'skip'"):
        with pytest.raises(Stopped) as stopped:
            applier.apply([feed.batch()])
        assert refused(stopped.value, new, "zoo.tree", 4)
    with swallowing(central, "zoo_tree", "DELETE", "OLD.name = 'keep'"):
        with pytest.raises(Stopped) as stopped:
            applier.apply(feed.sent)
        assert str(kept.id) in stopped.value.error.words
        assert (stopped.value.model, stopped.value.seq) == ("zoo.tree", 5)
    applier.apply(feed.sent)
    assert Tree.objects.using(central).get().name == "skip"


@with_such_triggers
@pytest.mark.usefixtures("parks")
def test_it_is_parked_and_applied_when_the_trigger_is_gone(central: str) -> None:
    bad, moving, going = Tree(name="skip"), Tree(name="moves"), Tree(name="stays")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(moving, going).batch()])
    moving.name = "skip"
    with (
        swallowing(central, "zoo_tree", "INSERT", "NEW.name = 'skip'"),
        swallowing_more(central, "UPDATE", "NEW.name = 'skip'"),
    ):
        applier.apply([feed.insert(Tree(name="fine"), bad).update(moving).batch()])
        parked = Parked.objects.using(central).order_by("seq")
        assert [(row.code, row.key, row.seq, row.absent) for row in parked] == [
            ("record-refused", str(bad.id), 4, True),
            ("record-refused", str(moving.id), 5, False),
        ]
        assert all("row-level security" in row.error for row in parked)
        assert retry(central).applied == 0
        assert Parked.objects.using(central).count() == 2
    assert retry(central).applied == 2
    names = Tree.objects.using(central).values_list("name", flat=True)
    assert sorted(names) == ["fine", "skip", "skip", "stays"]


@contextmanager
def swallowing_more(using: str, event: str, when: str) -> Iterator[None]:
    """A second trigger beside the one of `swallowing`."""
    if connections[using].vendor == "sqlite":
        install = (
            f"CREATE TRIGGER swallow_more BEFORE {event} ON zoo_tree WHEN {when} "
            "BEGIN SELECT RAISE(IGNORE); END"
        )
        remove = "DROP TRIGGER swallow_more"
    else:
        install = (
            f"CREATE TRIGGER swallow_more BEFORE {event} ON zoo_tree FOR EACH ROW "
            f"WHEN ({when}) EXECUTE FUNCTION swallow()"
        )
        remove = "DROP TRIGGER swallow_more ON zoo_tree"
    with running(using, [install], [remove]):
        yield


def test_an_update_that_changes_nothing_may_be_skipped(databases: Databases) -> None:
    """PostgreSQL has a trigger for that; so does a SQLite table, by hand."""
    using = "central_pg"
    databases.clean(using)
    trees = [Tree(name=f"tree {n}") for n in range(300)]
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(*trees).batch()])
    trees[7].name = "changed"
    install = (
        "CREATE TRIGGER redundant BEFORE UPDATE ON zoo_tree FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    )
    with running(using, [install], ["DROP TRIGGER redundant ON zoo_tree"]):
        applier.apply([feed.update(*trees).batch()])
    found = dict(Tree.objects.using(using).values_list("id", "name"))
    assert found == {tree.id: tree.name for tree in trees}
    assert Offset.objects.using(using).get().updates_missed == 0


@pytest.mark.parametrize("event", ["INSERT", "UPDATE", "DELETE"])
def test_a_rule(event: str, databases: Databases) -> None:
    using = "central_pg"
    databases.clean(using)
    old, new = Slot(name="old"), Slot(name="new")
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(old).batch()])
    install = f"CREATE RULE swallow AS ON {event} TO zoo_slot DO INSTEAD NOTHING"
    {"INSERT": feed.insert, "UPDATE": feed.update, "DELETE": feed.delete}[event](
        new if event == "INSERT" else old
    )
    if event == "UPDATE":
        old.name = "other"
        feed.update(old)
    rule = running(using, [install], ["DROP RULE swallow ON zoo_slot"])
    with rule, pytest.raises(Stopped) as stopped:
        applier.apply([feed.batch()])
    assert (stopped.value.error.code, stopped.value.model) == ("record-refused", "zoo.slot")
    assert "rule" in stopped.value.error.words


def test_row_level_security(databases: Databases) -> None:
    """A row that the role may not see, and so can't change, nor insert again."""
    using = "central_pg"
    databases.clean(using)
    mine, hidden = Tree(name="mine"), Tree(name="hidden")
    feed = Feed()
    applier = feed.applier(using)
    applier.apply([feed.insert(mine, hidden).batch()])
    install = [
        "CREATE ROLE plain",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain",
        "ALTER TABLE zoo_tree ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON zoo_tree FOR SELECT USING (true)",
        "CREATE POLICY adds ON zoo_tree FOR INSERT WITH CHECK (true)",
        "CREATE POLICY changes ON zoo_tree FOR UPDATE USING (name <> 'hidden')",
        "CREATE POLICY drops ON zoo_tree FOR DELETE USING (name <> 'hidden')",
        "SET ROLE plain",
    ]
    remove = [
        "RESET ROLE",
        *(f"DROP POLICY {name} ON zoo_tree" for name in ("own", "adds", "changes", "drops")),
        "ALTER TABLE zoo_tree DISABLE ROW LEVEL SECURITY",
        "DROP OWNED BY plain",
        "DROP ROLE plain",
    ]
    was = hidden.name
    hidden.name = mine.name = "changed"
    with running(using, install, remove):
        with pytest.raises(Stopped) as stopped:
            applier.apply([feed.update(mine, hidden).batch()])
        assert refused(stopped.value, hidden, "zoo.tree", 4)
        other = Feed()
        other.opened(using, "site-b")
    found = set(Tree.objects.using(using).values_list("name", flat=True))
    assert found == {"mine", was}


def test_what_is_right_costs_no_look(central: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole rows are read only where a count is short."""

    def fail(*args: Any) -> None:
        raise AssertionError("looked")

    monkeypatch.setattr("sockstream.receiver.applying.tables.effects.require_there", fail)
    monkeypatch.setattr("sockstream.receiver.applying.tables.effects.require_gone", fail)
    trees = [Tree(name=str(n)) for n in range(30)]
    passing = Tree(name="passing")
    feed = Feed()
    applier = feed.applier(central)
    applier.apply([feed.insert(*trees, passing).delete(passing).batch()])
    applier.apply([feed.update(*trees, Tree(name="missed")).batch()])
    applier.apply([feed.insert(trees[0]).delete(*trees[1:]).batch()])
    row = Offset.objects.using(central).get()
    assert (row.inserts_met, row.updates_missed, row.deletes_missed) == (1, 1, 0)


@with_such_triggers
def test_a_runner_that_makes_way_is_counted(central: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete that leaves a row, and the insert after it, are looked at like any other."""
    with override_settings(SOCKSTREAM={"MODELS": ["rivals"]}):
        rows = [Runner(bib=n, title=str(n), lane=n) for n in range(2)]
        feed = Feed()
        applier = feed.applier(central)
        applier.apply([feed.insert(*rows).batch()])
        rows[0].bib, rows[1].bib = 1, 0
        feed.update(*rows)
        monkeypatch.setattr(
            "sockstream.receiver.dialects.base.Dialect.can_come_again", lambda *args: True
        )
        trigger = swallowing(central, "rivals_runner", "INSERT", "NEW.bib = 0")
        with trigger, pytest.raises(Stopped):
            applier.apply([feed.batch()])
        found = set(Runner.objects.using(central).values_list("title", "bib"))
        assert found == {("0", 0), ("1", 1)}
        applier.apply(feed.sent)
        found = set(Runner.objects.using(central).values_list("title", "bib"))
        assert found == {("0", 1), ("1", 0)}
