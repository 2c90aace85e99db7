"""Texts of SQLite that are not UTF-8: the row is named, waits, and goes on when it was mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connections, transaction

from polls.models import Tag
from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.sender.capture import not_utf8
from sockstream.sender.oplog import store
from sockstream.sender.oplog.intake import Intake
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.wire import records
from sockstream.wire.records import DELETE, INSERT, UPDATE
from tests.databases import Databases
from tests.zoo.models import Author, Parameter

PLAIN = Settings(MODELS=("polls", "zoo"))
LATIN = "CAST(x'53e46e67657220' AS TEXT)"


@pytest.fixture
def site(databases: Databases) -> str:
    databases.clean("site_sqlite")
    return "site_sqlite"


def run(site: str, sql: str) -> None:
    with connections[site].cursor() as cursor:
        cursor.execute(sql)


def bad(site: str, number: int) -> UUID:
    """A row whose name no Python can read."""
    key = UUID(int=number)
    run(site, f"INSERT INTO polls_tag (id, name) VALUES ('{key.hex}', {LATIN} || {number})")
    return key


def number(site: str, settings: Settings = PLAIN) -> int:
    return sum(Sequencer(site, settings).steps())


def held(site: str) -> list[tuple[int, Any]]:
    """The operations of the oplog with the last value of each."""
    batches = store.read(1, site, 1_000)
    segments = (segment for batch in batches for segment in records.segments(batch))
    return [(op, values[-1]) for segment in segments for op, _, values in segment.records]


@pytest.mark.parametrize("few", [True, False])
def test_the_row_is_named_and_waits(few: bool, site: str) -> None:
    Tag.objects.using(site).bulk_create([Tag(name=str(n)) for n in range(1 if few else 30)])
    key = bad(site, 9)
    with pytest.raises(SockstreamError) as caught:
        number(site)
    assert caught.value.code == not_utf8.CODE
    for word in ("polls.tag", key.hex, "'name'", r"b'S\xe4nger 9'"):
        assert word in caught.value.words
    assert not held(site)


@pytest.mark.parametrize(
    ("mend", "expected"),
    [
        (lambda rows: rows.update(name="Sänger"), [(INSERT, "Sänger"), (UPDATE, "Sänger")]),
        (lambda rows: rows._raw_delete(rows.db), [(INSERT, "S\ufffdnger 1"), (DELETE, None)]),
    ],
)
@pytest.mark.parametrize("size", [1, 30])
def test_a_row_that_was_mended_goes_on(
    size: int, mend: Callable[[Any], Any], expected: list[Any], site: str
) -> None:
    Tag.objects.using(site).bulk_create([Tag(name=str(n)) for n in range(size)])
    key = bad(site, 1)
    bad_too = bad(site, 16)  # its key begins alike
    Tag.objects.using(site).filter(pk=bad_too).update(name="mended before")
    with pytest.raises(SockstreamError, match=key.hex):
        number(site)
    mend(Tag.objects.using(site).filter(pk=key))
    assert number(site) == size + 4
    found = held(site)[size:]
    assert [found[0][0], found[-1][0]] == [op for op, _ in expected]
    if expected[1][1] is not None:
        assert [found[0][1], found[-1][1]] == [name for _, name in expected]
    assert found[1:3] == [(INSERT, "mended before"), (UPDATE, "mended before")]


def test_a_row_that_was_saved_and_not_mended_waits_still(site: str) -> None:
    key = bad(site, 1)
    run(site, f"UPDATE polls_tag SET name = {LATIN} || 'x'")
    with pytest.raises(SockstreamError, match=key.hex):
        number(site)


def test_a_key_that_begins_alike_is_another_row(site: str) -> None:
    run(site, f"INSERT INTO zoo_counter (id, name, value) VALUES (1, {LATIN}, 0)")
    run(site, "INSERT INTO zoo_counter (id, name, value) VALUES (12, 'another', 0)")
    with pytest.raises(SockstreamError, match=r"zoo\.counter 1 "):
        number(site)


def test_a_key_that_is_not_utf8(site: str) -> None:
    run(site, f"INSERT INTO zoo_parameter (name, value) VALUES ({LATIN}, 'one')")
    with pytest.raises(SockstreamError, match=r"'name'.*xe4nger"):
        number(site)
    run(site, "UPDATE zoo_parameter SET name = 'Sänger'")
    assert number(site) == 3
    assert held(site)[-1] == (INSERT, "one")
    assert Parameter.objects.using(site).get().name == "Sänger"


def test_the_intake_tries_again_when_something_was_written(site: str) -> None:
    key = bad(site, 1)
    intake = Intake(site, replace(PLAIN, POLL=0.01))
    try:
        while intake.ready():
            intake.step()
        assert intake.error is not None
        other = connections[site].copy()
        with other.cursor() as cursor:
            cursor.execute(f"UPDATE polls_tag SET name = 'mended' WHERE id = '{key.hex}'")
        other.close()
        assert intake.ready()
        while intake.step():
            pass
        assert intake.error is None
    finally:
        intake.close()
    assert held(site) == [(INSERT, "mended"), (UPDATE, "mended")]


def test_a_reference_to_such_a_row_is_found(site: str) -> None:
    """The row that is pointed to is captured after the one that points to it."""
    essay, author = UUID(int=1), UUID(int=2)
    with transaction.atomic(using=site):
        run(
            site,
            "INSERT INTO zoo_essay (pkid, id, title, author_id) "
            f"VALUES (1, '{essay.hex}', 'On texts', 77)",
        )
        run(
            site,
            f"INSERT INTO zoo_author (pkid, id, name) VALUES (77, '{author.hex}', {LATIN})",
        )
    Author.objects.using(site).update(name="mended")
    assert number(site) == 3
    segments = [segment for batch in store.read(1, site, 9) for segment in records.segments(batch)]
    first = segments[0].layouts[0]
    _, _, values = segments[0].records[0]
    assert dict(zip(first.keys + first.others, values, strict=True))["author"] == author.bytes
