"""MariaDB looks at foreign keys after each statement, or not at all: then the applier does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connections

from sockstream.receiver.applying.applier import Retry, Stopped
from sockstream.receiver.applying.tables import foreign_keys, numbers
from sockstream.receiver.models import Offset
from sockstream.receiver.signals import records_applied
from sockstream.wire.records import INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import (
    Author,
    Category,
    City,
    Country,
    Essay,
    Parameter,
    Portrait,
    Slot,
    Tree,
)

AUTHOR = Layout("zoo.author", ("id",), ("name", "mentor"))
ESSAY = Layout("zoo.essay", ("id",), ("title", "author", "editor"))
PORTRAIT = Layout("zoo.portrait", ("author",), ("caption",))
FRAME = Layout("zoo.frame", ("id",), ("portrait",))


@pytest.fixture
def maria(databases: Databases) -> Iterator[str]:
    databases.clean("central_maria")
    yield "central_maria"
    connections["central_maria"].close()


def chain(length: int) -> list[Category]:
    """Each points to the one before it."""
    rows = [Category(name="0")]
    for number in range(1, length):
        rows.append(Category(name=str(number), parent=rows[-1]))
    return rows


def run(using: str, sql: str) -> list[tuple[Any, ...]]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


def looks(using: str) -> bool:
    """Whether the session's statements look at foreign keys."""
    [(found,)] = run(using, "SELECT @@SESSION.foreign_key_checks")
    return bool(found)


# When the applier looks.


@pytest.mark.usefixtures("in_pieces")
def test_children_before_their_parents_and_parents_deleted_before_them(maria: str) -> None:
    """In one group, and in several pieces of one."""
    rows = chain(5)
    for together in (True, False):
        feed = Feed()
        applier = feed.applier(maria, f"site-{together}")
        applier.apply([feed.insert(*reversed(rows)).batch(open=not together)])
        if not together:
            applier.apply([feed.insert(Slot(name="last")).batch()])
        assert Category.objects.using(maria).exclude(parent=None).count() == 4
        applier.apply([feed.delete(*rows).batch(open=not together)])
        if not together:
            applier.apply([feed.insert(Slot(name="very last")).batch()])
        assert not Category.objects.using(maria).exists()


@pytest.mark.parametrize("beside", [0, 250])
def test_a_parent_that_never_comes(beside: int, maria: str) -> None:
    """Its child is named, and nothing of its group is there."""
    parent, child = chain(2)
    feed = Feed()
    applier = feed.applier(maria)
    others = [Slot(name=str(number)) for number in range(beside)]
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(*others, child).end().insert(Category(name="after")).batch()])
    assert stopped.value.error.code == "missing-reference"
    assert (stopped.value.key, stopped.value.seq) == (str(child.id), beside + 1)
    assert str(parent.id) in stopped.value.error.words
    assert not Category.objects.using(maria).exists()


@pytest.mark.parametrize("last", [True, False])
def test_a_deleted_row_that_is_still_pointed_to(last: bool, maria: str) -> None:
    """By a foreign key that names it by another field than its key."""
    country = Country(code="at")
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(country, City(country=country)).batch()])
    feed.delete(country)
    if not last:
        feed.insert(Slot(name="after"))
    with pytest.raises(Stopped, match=r"zoo\.city") as stopped:
        applier.apply([feed.batch()])
    assert stopped.value.seq == feed.seq
    assert Country.objects.using(maria).exists()
    assert Offset.objects.using(maria).get().seq == 2


def test_a_changed_value_that_is_still_pointed_to(maria: str) -> None:
    country = Country(code="at")
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(country, City(country=country)).batch()])
    country.code = "ch"
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.update(country).batch()])
    assert stopped.value.seq == 3
    assert Country.objects.using(maria).get().code == "at"


@pytest.mark.usefixtures("in_pieces")
def test_what_is_noted_is_bounded(maria: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more, every row is looked at: what is whole passes, and what is broken does not."""
    monkeypatch.setattr(foreign_keys, "_MOST", 4)
    rows = chain(40)
    feed = Feed()
    applier = feed.applier(maria)
    for row in reversed(rows[1:]):
        applier.apply([feed.insert(row).batch(open=True)])
    applier.apply([feed.insert(rows[0]).batch()])
    assert Category.objects.using(maria).count() == 40
    with pytest.raises(Stopped, match=str(rows[0].id)):
        applier.apply([feed.delete(rows[0]).insert(*chain(40)).batch()])
    assert Category.objects.using(maria).count() == 40


@pytest.mark.usefixtures("in_pieces")
def test_one_of_too_many_parents_never_comes(maria: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_keys, "_MOST", 4)
    pairs = [chain(2) for _ in range(9)]
    feed = Feed().insert(*(child for _, child in pairs))
    applier = feed.applier(maria)
    applier.apply([feed.batch(open=True)])
    with pytest.raises(Stopped, match=str(pairs[0][0].id)):
        applier.apply([feed.insert(*(parent for parent, _ in pairs[1:])).batch()])
    assert not Category.objects.using(maria).exists()


def test_one_of_too_many_deleted_rows_is_pointed_to(
    maria: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_keys, "_MOST", 4)
    parents = [Category(name=str(number)) for number in range(9)]
    child = Category(name="child", parent=parents[5])
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(*parents, child).batch()])
    with pytest.raises(Stopped, match=str(child.id)):
        applier.apply([feed.delete(*parents).batch()])
    assert Category.objects.using(maria).count() == 10


def test_one_of_too_many_changed_values_is_pointed_to(
    maria: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_keys, "_MOST", 4)
    countries = [Country(code=str(number)) for number in range(9)]
    city = City(country=countries[5])
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(*countries, city).batch()])
    for country in countries:
        country.code = f"x{country.code}"
    with pytest.raises(Stopped, match=str(city.id)):
        applier.apply([feed.update(*countries).batch()])
    assert City.objects.using(maria).get().country.code == "5"


# Foreign keys that Django does not know.


@contextmanager
def own_table(using: str, *columns: str) -> Iterator[str]:
    """A table of central's own, which no model describes."""
    run(using, f"CREATE TABLE own ({', '.join(columns)}) ENGINE=InnoDB")
    try:
        yield "own"
    finally:
        run(using, "DROP TABLE own")


def pointing(actions: str = "") -> Sequence[str]:
    kind = "uuid" if _native() else "char(32)"
    return (f"tree {kind} NOT NULL", f"FOREIGN KEY (tree) REFERENCES zoo_tree (id) {actions}")


def _native() -> bool:
    return bool(connections["central_maria"].features.has_native_uuid_field)


def test_a_table_that_no_model_describes_points_to_a_row(maria: str) -> None:
    tree = Tree(name="oak")
    feed = Feed()
    with own_table(maria, *pointing()):
        applier = feed.applier(maria)
        applier.apply([feed.insert(tree).batch()])
        run(maria, "INSERT INTO own SELECT id FROM zoo_tree")
        with pytest.raises(Stopped, match=r"own\.tree points to zoo_tree\.id"):
            applier.apply([feed.delete(tree).batch()])
        assert Tree.objects.using(maria).exists()


def test_the_database_deletes_rows_as_it_does_for_others(maria: str) -> None:
    """It would not, if it did not look."""
    tree, *others = (Tree(name=name) for name in ("oak", "ash", "elm"))
    feed = Feed()
    with own_table(maria, *pointing("ON DELETE CASCADE")):
        applier = feed.applier(maria)
        applier.apply([feed.insert(tree, *others).batch()])
        run(maria, "INSERT INTO own SELECT id FROM zoo_tree")
        parent, child = chain(2)
        applier.apply([feed.insert(child).delete(tree).insert(parent).batch()])
        assert len(run(maria, "SELECT * FROM own")) == 2
        assert not looks_away_left(maria)


def looks_away_left(using: str) -> bool:
    """Whether the session still has what a transaction set."""
    [(kept,)] = run(using, "SELECT @sockstream_foreign_key_checks")
    return kept is not None or not looks(using)


# The application's sessions.


def test_the_session_is_the_application_s_after_each_transaction(maria: str) -> None:
    seen: list[bool] = []

    def look(**_: object) -> None:
        seen.append(looks(maria))

    feed = Feed()
    applier = feed.applier(maria)
    records_applied.connect(look)
    try:
        applier.apply([feed.insert(Slot(name="one")).batch()])
    finally:
        records_applied.disconnect(look)
    assert seen == [True]
    _, child = chain(2)
    with pytest.raises(Stopped):
        applier.apply([feed.insert(child).batch()])
    assert not looks_away_left(maria)
    with pytest.raises(IntegrityError):
        child.save(using=maria)


def test_a_session_that_does_not_look_stays_so(maria: str) -> None:
    run(maria, "SET SESSION foreign_key_checks = 0")
    feed = Feed()
    feed.applier(maria).apply([feed.insert(Slot(name="one")).batch()])
    assert not looks(maria)


def test_a_parent_that_another_session_is_deleting(maria: str) -> None:
    """It is waited for, as a foreign key does: else both would commit, and the child be alone."""
    feed = Feed()
    applier = feed.applier(maria)
    parent, child = chain(2)
    applier.apply([feed.insert(parent).batch()])
    other = connections[maria].copy()
    batch = feed.insert(child).batch()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM zoo_category")
            run(maria, "SET SESSION innodb_lock_wait_timeout = 1")
            with pytest.raises(Retry):
                applier.apply([batch])
            cursor.execute("COMMIT")
    finally:
        other.close()
    with pytest.raises(Stopped, match=str(child.id)):
        applier.apply([batch])


def test_a_child_that_another_session_is_inserting(maria: str) -> None:
    """Its session has locked the parent, so that the parent's delete waits."""
    feed = Feed()
    applier = feed.applier(maria)
    parent, child = chain(2)
    applier.apply([feed.insert(parent).batch()])
    other = connections[maria].copy()
    batch = feed.delete(parent).batch()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(
                "INSERT INTO zoo_category (id, name, parent_id) SELECT %s, 'child', id "
                "FROM zoo_category",
                [str(child.id) if _native() else child.id.hex],
            )
            run(maria, "SET SESSION innodb_lock_wait_timeout = 1")
            with pytest.raises(Retry):
                applier.apply([batch])
        other.commit()
    finally:
        other.close()
    with pytest.raises(Stopped, match=str(child.id)):
        applier.apply([batch])


# Numbers that stand in.


@pytest.mark.usefixtures("in_pieces")
def test_what_stands_in_is_replaced_in_keys_and_in_what_points_to_these(maria: str) -> None:
    """A portrait's primary key is its author, and a frame points to a portrait."""
    author, frame = Author(name="late"), b"f" * 16
    feed = Feed()
    applier = feed.applier(maria)
    feed.raw(INSERT, PORTRAIT, (author.id.bytes, "of nobody yet"))
    feed.raw(INSERT, FRAME, (frame, author.id.bytes))
    essay = Essay(title="by him", author=author)
    feed.raw(INSERT, ESSAY, (essay.id.bytes, "by him", author.id.bytes, None))
    applier.apply([feed.batch(open=True)])
    applier.apply([feed.raw(INSERT, AUTHOR, (author.id.bytes, "late", None)).batch()])
    [portrait] = Portrait.objects.using(maria)
    found = Author.objects.using(maria).get()
    assert portrait.pk == found.pkid > 0
    assert run(maria, "SELECT portrait_id FROM zoo_frame") == [(found.pkid,)]
    assert Essay.objects.using(maria).get().author_id == found.pkid


@pytest.mark.usefixtures("in_pieces")
def test_no_number_stands_in_that_a_row_has(maria: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody has given a row a negative one."""
    monkeypatch.setattr(numbers, "randbelow", lambda below: 0)
    strange = Author.objects.using(maria).create(pkid=-(1 << 63), name="strange")
    pupil = Author.objects.using(maria).create(name="its pupil", mentor=strange)
    author, mentor = Author(name="pupil"), Author(name="mentor")
    feed = Feed()
    feed.raw(INSERT, AUTHOR, (author.id.bytes, "pupil", mentor.id.bytes))
    applier = feed.applier(maria)
    applier.apply([feed.batch(open=True)])
    applier.apply([feed.raw(INSERT, AUTHOR, (mentor.id.bytes, "mentor", None)).batch()])
    pupil.refresh_from_db()
    assert pupil.mentor_id == strange.pkid
    assert Author.objects.using(maria).get(name="pupil").mentor.name == "mentor"


def test_a_lost_connection_is_no_trouble_of_its_own(maria: str) -> None:
    """What cannot be set again on it is gone with it."""
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(Parameter(name="one")).batch()])
    with pytest.raises(OperationalError):
        run(maria, "KILL CONNECTION_ID()")
    batch = feed.insert(Parameter(name="two")).batch()
    with pytest.raises(Retry):
        applier.apply([batch])
    connections[maria].close()
    assert applier.apply([batch]).offset == 2
