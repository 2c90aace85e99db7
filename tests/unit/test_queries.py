"""With DEBUG, a command that runs for long keeps none of its statements."""

from __future__ import annotations

import threading

import pytest
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from sockstream.databases.queries import not_kept

USING = "default"


@pytest.fixture(autouse=True)
def debug() -> object:
    with override_settings(DEBUG=True):
        yield
    connections[USING].queries_log.clear()


def ask() -> int:
    """Ask the database something; how many statements its connection keeps then."""
    with connections[USING].cursor() as cursor:
        cursor.execute("SELECT 1")
    return len(connections[USING].queries_log)


def test_django_keeps_them() -> None:
    assert ask() > 0


def test_a_connection_that_is_there_keeps_none() -> None:
    ask()
    with not_kept():
        assert [ask() for _ in range(3)] == [0, 0, 0]


def test_a_connection_that_comes_later_keeps_none() -> None:
    connections[USING].close()
    with not_kept():
        assert ask() == 0
        connections[USING].close()
        assert ask() == 0


def test_a_thread_s_connection_keeps_none() -> None:
    kept: list[int] = []

    def work() -> None:
        kept.append(ask())
        # Its own close() leaves a database in memory open.
        BaseDatabaseWrapper.close(connections[USING])

    with not_kept():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert kept == [0]


def test_afterwards_they_are_kept_again() -> None:
    """For whoever runs a command in his own process, such as a test that counts queries."""
    ask()
    with not_kept():
        ask()
    with CaptureQueriesContext(connections[USING]) as captured:
        ask()
    assert len(captured) == 1
    connections[USING].close()
    with CaptureQueriesContext(connections[USING]) as captured:
        ask()
    assert len(captured) == 1


def test_commands_keep_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("sockstream.status.StatusCommand.run", lambda *_: seen.append(ask()))
    call_command("oplog_status")
    assert seen == [0]
