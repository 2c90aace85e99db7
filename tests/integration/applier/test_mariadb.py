"""MariaDB at central: what it notes of rows, and keys that its collation takes for one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.db import connections

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import HeldRow, Offset, Source
from sockstream.wire.records import DELETE, INSERT, Layout
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.zoo.models import Author, Counter, Day, Essay, Parameter, Slot, Translation

READERS = Layout("zoo.essay_readers", ("essay", "author"), ())


@pytest.fixture
def maria(databases: Databases) -> Iterator[str]:
    databases.clean("central_maria")
    yield "central_maria"
    connections["central_maria"].close()


# What is noted of a row is 16 bytes that need be no UUID.


def test_a_row_may_have_any_key(maria: str) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    slots = [Slot(position=number) for number in range(60)]
    texts = [Parameter(name=f"key {number}") for number in range(60)]
    days = [Day(date=date(2026, 1, 1) + timedelta(number)) for number in range(60)]
    assert applier.apply([feed.insert(*slots, *texts, *days).batch()]).offset == 180
    assert HeldRow.objects.using(maria).count() == 180
    assert applier.apply([feed.update(*texts).delete(*days).batch()]).offset == 300
    assert HeldRow.objects.using(maria).count() == 120


def test_pairs_of_a_many_to_many_have_keys_of_any_bytes(maria: str) -> None:
    feed = Feed()
    authors = [Author(pkid=n + 1, name=f"author {n}") for n in range(40)]
    essays = [Essay(title=f"essay {number}", author=authors[number]) for number in range(2)]
    feed.insert(*authors, *essays)
    pairs = [[essay.id.bytes, author.id.bytes] for essay in essays for author in authors]
    for pair in pairs:
        feed.raw(INSERT, READERS, pair)
    applier = feed.applier(maria)
    assert applier.apply([feed.batch()]).offset == 122
    assert Essay.readers.through.objects.using(maria).count() == 80
    for pair in pairs[::2]:
        feed.raw(DELETE, READERS, pair)
    applier.apply([feed.batch()])
    assert Essay.readers.through.objects.using(maria).count() == 40
    assert HeldRow.objects.using(maria).count() == 82


def test_names_that_were_noted_as_native_uuids_stay(maria: str) -> None:
    """As an older version made the column, where MariaDB has such a type."""
    call_command("migrate", "sockstream_receiver", "0007", database=maria, verbosity=0)
    name = UUID("3abf8ddd-0000-7000-8000-00000000000a")
    table = HeldRow._meta.db_table
    with connections[maria].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} MODIFY name uuid NOT NULL")
        cursor.execute(
            f"INSERT INTO {table} (holding, generation, name) VALUES (1, 1, %s)", [str(name)]
        )
    call_command("migrate", "sockstream_receiver", database=maria, verbosity=0)
    assert HeldRow.objects.using(maria).get(name=name).name == name
    with connections[maria].cursor() as cursor:
        cursor.execute(f"SELECT name FROM {table}")
        assert cursor.fetchone() == (name.hex,)


def test_a_key_of_zero_stays_zero(maria: str) -> None:
    """To MySQL a zero in such a column asks for the next number, unless told otherwise."""
    feed = Feed()
    feed.applier(maria).apply([feed.insert(Counter(id=0, name="zero"), Counter(id=7)).batch()])
    assert set(Counter.objects.using(maria).values_list("id", flat=True)) == {0, 7}


# Keys that a collation folds.

FOLDED = [("ab1", "AB1"), ("AB1", "ab1"), ("k2", "k2 "), ("a", "ä"), ("É", "e ")]
EXACT = "utf8mb4_nopad_bin"


def parameters(using: str) -> dict[str, str]:
    return dict(Parameter.objects.using(using).values_list("name", "value"))


@pytest.fixture
def exact(maria: str) -> Iterator[str]:
    """The mend that a stop names."""
    columns = {
        "zoo_parameter": ["name varchar(50)"],
        "zoo_translation": ["language varchar(10)", "phrase varchar(50)"],
    }
    collate(maria, columns, EXACT)
    yield maria
    collate(maria, columns, "utf8mb4_general_ci")


def collate(using: str, columns: dict[str, list[str]], collation: str) -> None:
    with connections[using].cursor() as cursor:
        for table, each in columns.items():
            cursor.execute(f"DELETE FROM {table}")
            for column in each:
                cursor.execute(f"ALTER TABLE {table} MODIFY {column} COLLATE {collation} NOT NULL")


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("one", "other"), FOLDED)
def test_two_rows_with_one_folded_key_never_become_one(
    one: str, other: str, together: bool, maria: str
) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    rows = [Parameter(name=one, value="1"), Parameter(name=other, value="2")]
    if together:
        batches = [feed.insert(rows[0]).end().insert(rows[1]).batch()]
    else:
        batches = [feed.insert(row).batch() for row in rows]
    with pytest.raises(Stopped) as stopped:
        applier.apply(batches)
    error = stopped.value.error
    assert (error.code, stopped.value.model, stopped.value.seq) == (
        "record-refused",
        "zoo.parameter",
        2,
    )
    assert "To central's collation its key is that of another row" in error.words
    assert EXACT in error.mend
    assert "zoo_parameter.name" in error.mend
    assert parameters(maria) == {one: "1"}


@pytest.mark.parametrize(("one", "other"), FOLDED)
def test_a_change_or_a_delete_meets_only_the_row_with_this_very_key(
    one: str, other: str, maria: str
) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(Parameter(name=one, value="mine")).batch()])
    assert applier.apply([feed.delete(Parameter(name=other)).batch()]).offset == 2
    assert parameters(maria) == {one: "mine"}
    with pytest.raises(Stopped):
        applier.apply([feed.update(Parameter(name=other, value="theirs")).batch()])
    assert parameters(maria) == {one: "mine"}


@pytest.mark.parametrize(("one", "other"), [FOLDED[0], FOLDED[2]])
def test_a_key_that_changes_its_case_is_another_key(one: str, other: str, maria: str) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(Parameter(name=one, value="1")).batch()])
    feed.delete(Parameter(name=one)).insert(Parameter(name=other, value="2"))
    applier.apply([feed.batch()])
    assert parameters(maria) == {other: "2"}


@pytest.mark.parametrize(("one", "other"), FOLDED)
def test_after_the_mend_both_arrive(one: str, other: str, exact: str) -> None:
    feed = Feed()
    applier = feed.applier(exact)
    rows = [Parameter(name=one, value="1"), Parameter(name=other, value="2")]
    applier.apply([feed.insert(*rows).batch()])
    assert parameters(exact) == {one: "1", other: "2"}
    rows[1].value = "3"
    applier.apply([feed.update(rows[1]).batch()])
    applier.apply([feed.delete(rows[0]).batch()])
    assert parameters(exact) == {other: "3"}


def translation(language: str, phrase: str, text: str = "") -> Translation:
    return Translation(language=language, phrase=phrase, version=1, text=text)


def test_a_part_of_a_key_is_folded(maria: str) -> None:
    feed = Feed()
    applier = feed.applier(maria)
    applier.apply([feed.insert(translation("de", "Ja", "1"), translation("en", "ja")).batch()])
    applier.apply([feed.delete(translation("DE", "ja")).batch()])
    assert Translation.objects.using(maria).count() == 2
    with pytest.raises(Stopped) as stopped:
        applier.apply([feed.insert(translation("de", "JA", "2")).batch()])
    assert "zoo_translation.language, phrase" in stopped.value.error.mend


def test_a_part_of_a_key_after_the_mend(exact: str) -> None:
    feed = Feed()
    applier = feed.applier(exact)
    rows = [translation("de", "ja"), translation("de", "Ja"), translation("de ", "ja")]
    applier.apply([feed.insert(*rows).batch()])
    rows[1].text = "changed"
    applier.apply([feed.update(rows[1]).delete(rows[0]).batch()])
    found = Translation.objects.using(exact).values_list("language", "phrase", "text")
    assert set(found) == {("de", "Ja", "changed"), ("de ", "ja", "")}


def test_many_text_keys_are_found_by_few_statements(maria: str) -> None:
    feed = Feed()
    rows = [Parameter(name=f"key {number}") for number in range(1_000)]
    applier = feed.applier(maria)
    applier.apply([feed.insert(*rows).batch()])
    asked: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        asked.append(sql)
        return execute(sql, *rest)

    with connections[maria].execute_wrapper(note):
        applier.apply([feed.update(*rows).batch()])
    assert sum("SELECT `name`" in sql for sql in asked) == 2


# Names of our own: two sites whose certificates differ in a letter's case are two sites.


@pytest.mark.parametrize(("one", "other"), [("site-a", "Site-A"), ("a", "ä")])
def test_two_sources_never_become_one(one: str, other: str, maria: str) -> None:
    for name in (one, other):
        feed = Feed()
        applier = feed.applier(maria, name)
        assert applier.apply([feed.insert(Slot()).batch()]).offset == 1
    assert set(Source.objects.using(maria).values_list("name", flat=True)) == {one, other}
    assert Offset.objects.using(maria).count() == 2


def test_two_streams_of_a_source_never_become_one(maria: str) -> None:
    streams = ["main", "Main", "main "]
    for stream in streams:
        Feed().opened(maria, stream=stream)
    assert set(Offset.objects.using(maria).values_list("stream", flat=True)) == set(streams)


def test_each_text_of_our_own_tables_is_told_apart(maria: str) -> None:
    """A table that is made later has to be as well."""
    with connections[maria].cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name LIKE 'sockstream%%' "
            "AND collation_name NOT LIKE '%%\\_nopad\\_bin'"
        )
        assert cursor.fetchall() == ()
