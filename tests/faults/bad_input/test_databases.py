"""Databases that are not ready: neither end starts, and what was written there is not lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connections

from polls.models import Question
from tests.ends import send_once, wait_until, wait_until_applied
from tests.faults.bad_input.ends import (
    CENTRAL,
    OTHER,
    SITE,
    Command,
    Receiver,
    Sender,
    World,
    certs,
    refusal_of,
)
from tests.servers import free_port

# The models of the zoo are odd on purpose, and have no migrations.
OPTIONS = ["--skip-checks", "--run-syncdb"]
BACK = ["--skip-checks", "sockstream_sender", "zero"]


@contextmanager
def folder_of_databases(folder: Path) -> Iterator[None]:
    """The SQLite databases are in `folder` meanwhile, for us and for the processes we start."""
    databases = {alias: settings.DATABASES[alias] for alias in (SITE, CENTRAL)}
    before = os.environ["SOCKSTREAM_TEST_FOLDER"]
    try:
        move(databases, folder)
        yield
    finally:
        move(databases, Path(before))


def move(databases: dict[str, dict[str, object]], folder: Path) -> None:
    os.environ["SOCKSTREAM_TEST_FOLDER"] = str(folder)
    for alias, database in databases.items():
        connections[alias].close()
        database["NAME"] = str(folder / f"{alias}.sqlite3")


def test_migrations_that_are_not_applied(world: World, tmp_path: Path) -> None:
    """A new site and a new central, the one with an application that has been at work before."""
    certs(world.certificates.folder, "client", "fresh")
    own = world.certificates.settings("fresh")
    with folder_of_databases(tmp_path):
        Command(SITE, world.certificates, "migrate", *OPTIONS).run()
        Command(SITE, world.certificates, "migrate", *BACK).run()
        question = world.write()
        said = refusal_of(Sender(SITE, world.certificates, world.address, settings=own))
        assert said == (
            f"Database '{SITE}' lacks migrations of sockstream_sender."
            f" Run manage.py migrate --database {SITE}."
        )
        said = refusal_of(Receiver(CENTRAL, world.certificates))
        assert said == (
            "Database 'default' lacks migrations of polls, sockstream_receiver, zoo_raw."
            " Run manage.py migrate."
        )
        for alias in (SITE, CENTRAL):
            Command(alias, world.certificates, "migrate", *OPTIONS).run()
        with Receiver(CENTRAL, world.certificates) as receiver:
            send_once(world.pair, world.certificates, receiver.address, settings=own)
        assert Question.objects.using(CENTRAL).get() == question
        world.is_whole()


def test_a_second_sender_on_sqlite(world: World) -> None:
    with world.sender(once=False) as first:
        first.wait_until_connected()
        said = refusal_of(world.sender(once=False))
        assert re.fullmatch(
            rf"Another oplog_send runs on database '{SITE}': process {first.pid} on \S+, "
            r"since [\d :-]+\. Stop that one first, or leave the work to it\.",
            said,
        )
        world.write()
        wait_until_applied(world.pair, first)
        assert first.stop() == 0
    world.is_whole()


def test_a_second_sender_on_postgresql(world: World) -> None:
    """The one beside this site is the first."""
    options = {"settings": world.certificates.settings("other")}
    said = refusal_of(Sender(OTHER, world.certificates, world.address, **options))
    assert said.startswith(f"Another oplog_send runs on database '{OTHER}': process ")
    assert said.endswith("Stop that one first, or leave the work to it.")


def test_dropped_triggers(world: World) -> None:
    with connections[SITE].cursor() as cursor:
        cursor.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s",
            [Question._meta.db_table],
        )
        triggers = [name for (name,) in cursor.fetchall()]
        for name in triggers:
            cursor.execute(f"DROP TRIGGER {connections[SITE].ops.quote_name(name)}")
    assert triggers
    unseen = world.write()
    said = refusal_of(world.sender())
    assert "polls_question" in said
    assert said.endswith(
        f"Run manage.py oplog_capture install --database {SITE}; "
        "a snapshot of what was missed follows by itself."
    )
    Command(SITE, world.certificates, "oplog_capture", "install").run()
    world.nothing_is_lost()
    missed = Question.objects.using(CENTRAL).filter(pk=unseen.pk)
    wait_until(missed.exists, "sent by a snapshot", 60)


@pytest.mark.parametrize("alias", [OTHER, "central_pg"])
def test_a_database_server_that_does_not_answer(world: World, alias: str) -> None:
    nowhere = {"SOCKSTREAM_TEST_POSTGRESQL": str(free_port())}
    end: Sender | Receiver = Receiver(alias, world.certificates, environment=nowhere)
    if alias == OTHER:
        end = Sender(alias, world.certificates, world.address, environment=nowhere)
    said = refusal_of(end)
    assert "cannot be used: connection failed" in said
    assert said.endswith("Check DATABASES, and that its server runs.")


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "unable to open database file"), (b"no database\n" * 100, "file is not a database")],
    ids=["no folder", "another file"],
)
def test_a_database_file_that_is_none(
    world: World, tmp_path: Path, content: bytes | None, words: str
) -> None:
    folder = tmp_path / "data"
    if content is not None:
        folder.mkdir()
        for alias in (SITE, CENTRAL):
            (folder / f"{alias}.sqlite3").write_bytes(content)
    there = {"SOCKSTREAM_TEST_FOLDER": str(folder)}
    site = Sender(SITE, world.certificates, world.address, environment=there)
    for end in (site, Receiver(CENTRAL, world.certificates, environment=there)):
        assert f"cannot be used: {words}. Check DATABASES" in refusal_of(end)
