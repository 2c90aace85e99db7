"""References whose target is not there when the trigger looks for its key."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest
from django.db import connections, transaction

from tests.integration.capture.replay import replayed, take, truth
from tests.zoo.models import Author, Essay, Frame, Grant, Label, Portrait, Signature

on_postgresql = pytest.mark.parametrize("site", ["site_pg"], indirect=True)
deferring = pytest.mark.parametrize("site", ["site_sqlite", "site_pg"], indirect=True)


def _sql(using: str, sql: str, *params: Any) -> None:
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(sql, [connection.ops.adapt_unknown_value(value) for value in params])


def _without_foreign_keys(using: str) -> None:
    """What a loose program does: `sqlite3` does so unless it is told otherwise."""
    _sql(
        using,
        {
            "sqlite": "PRAGMA foreign_keys = OFF",
            "postgresql": "SET session_replication_role = replica",
            "mysql": "SET foreign_key_checks = 0",
        }[connections[using].vendor],
    )


@deferring
def test_a_child_written_before_its_parent(site: str) -> None:
    with transaction.atomic(using=site):
        Essay.objects.using(site).create(title="early", author_id=77)
        Author.objects.using(site).create(pkid=77, name="late")
    assert replayed(take(site)) == truth(site)


@deferring
def test_a_chain_written_from_its_end(site: str) -> None:
    with transaction.atomic(using=site):
        Frame.objects.using(site).create(portrait_id=78)
        Portrait.objects.using(site).create(author_id=78, caption="x")
        Signature.objects.using(site).create(author_id=78, number=1)
        Author.objects.using(site).create(pkid=78, name="late")
    assert replayed(take(site)) == truth(site)


@deferring
def test_a_parent_that_is_deleted_before_its_children(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    essay = Essay.objects.using(site).create(title="t", author=author)
    essay.readers.add(author)
    Signature.objects.using(site).create(author=author, number=2)
    before = replayed(take(site))
    with transaction.atomic(using=site):
        _sql(site, "DELETE FROM zoo_author")
        _sql(site, "UPDATE zoo_essay SET title = 'orphan'")
        _sql(site, "DELETE FROM zoo_essay_readers")
        _sql(site, "DELETE FROM zoo_signature")
        _sql(site, "DELETE FROM zoo_essay")
    assert replayed(take(site), before) == truth(site) == {}


@deferring
def test_a_chain_is_followed_where_all_of_it_is_gone(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    Portrait.objects.using(site).create(author=author, caption="x")
    Frame.objects.using(site).create(portrait_id=author.pk)
    before = replayed(take(site))
    with transaction.atomic(using=site):
        _sql(site, "DELETE FROM zoo_author")
        _sql(site, "DELETE FROM zoo_portrait")
        _sql(site, "UPDATE zoo_frame SET id = id")
        _sql(site, "DELETE FROM zoo_frame")
    records = take(site)
    assert [record.op for record in records] == ["D", "D", "U", "D"]
    assert records[2].values["portrait"] == author.id.bytes
    assert replayed(records, before) == {}


@on_postgresql
def test_a_cascade_of_the_database_deletes_pairs_after_both_ends(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    essay = Essay.objects.using(site).create(title="t", author=author)
    essay.readers.add(author)
    before = replayed(take(site))
    names = "zoo_essay_readers", "zoo_essay"
    with transaction.atomic(using=site):
        for table in names:
            for name, column, target in _foreign_keys(site, table):
                _sql(site, f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
                _sql(
                    site,
                    f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" FOREIGN KEY ({column}) '
                    f"REFERENCES {target} ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
                )
        _sql(site, "DELETE FROM zoo_author")
        records = take(site)
        transaction.set_rollback(True, using=site)
    assert replayed(records, before) == {}
    assert len(records) == 3


def _foreign_keys(using: str, table: str) -> list[tuple[str, str, str]]:
    connection = connections[using]
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    return [
        (name, constraint["columns"][0], constraint["foreign_key"][0])
        for name, constraint in found.items()
        if constraint["foreign_key"]
    ]


def test_a_dangling_reference_travels_as_null_and_is_told(
    site: str, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        _without_foreign_keys(site)
        Essay.objects.using(site).create(title="dangling", author_id=4711)
        with caplog.at_level(logging.WARNING, "sockstream"):
            [record] = take(site)
        Essay.objects.using(site).all().delete()
    finally:
        connections[site].close()
    assert record.values["author"] is None
    assert "zoo.essay" in caplog.text
    assert "4711" in caplog.text


def test_a_pair_outlives_both_its_ends(site: str) -> None:
    """A loose program deletes the ends first, in transactions of their own."""
    author = Author.objects.using(site).create(name="a")
    essay = Essay.objects.using(site).create(title="t", author=author)
    essay.readers.add(author)
    before = replayed(take(site))
    try:
        _without_foreign_keys(site)
        _sql(site, "DELETE FROM zoo_essay")
        _sql(site, "DELETE FROM zoo_author")
        _sql(site, "DELETE FROM zoo_essay_readers")
    finally:
        connections[site].close()
    assert replayed(take(site), before) == {}


def test_natural_keys(site: str) -> None:
    """A ContentType travels as [app, model], a Permission as [[app, model], codename]."""
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    type_ = ContentType.objects.using(site).get(app_label="zoo", model="essay")
    permission, _ = Permission.objects.using(site).get_or_create(
        content_type=type_, codename="read_essay", defaults={"name": "can read"}
    )
    label = Label.objects.using(site).create(content_type=type_)
    label.types.add(type_)
    grant = Grant.objects.using(site).create(permission=permission)
    grant.also.add(permission)
    label.types.clear()
    grant.also.clear()
    records = take(site)
    by_model = {record.model: record for record in records if record.op == "I"}
    assert by_model["zoo.label"].values["content_type"] == ("zoo", "essay")
    assert by_model["zoo.grant"].values["permission"] == (("zoo", "essay"), "read_essay")
    assert by_model["zoo.label_types"].key == (label.pk.bytes, ("zoo", "essay"))
    assert replayed(records) == truth(site)


def test_a_key_that_is_changed_is_a_delete_and_an_insert(site: str) -> None:
    author = Author.objects.using(site).create(name="a")
    before = replayed(take(site))
    Author.objects.using(site).filter(pk=author.pk).update(id=uuid.uuid4())
    records = take(site)
    assert [record.op for record in records] == ["D", "I"]
    assert replayed(records, before) == truth(site)
