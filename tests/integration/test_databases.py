"""The harness itself: databases are there, migrated, separate, and empty before every test."""

from __future__ import annotations

import pytest
from django.db import connections, transaction
from django.utils import timezone

from polls.models import Question
from sockstream.sender.models import Capture
from tests.databases import Pair


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_empty_databases(pair: Pair, turn: int) -> None:
    """The first turn leaves rows behind; the second finds none."""
    for alias in (pair.site, pair.central):
        assert not Question.objects.using(alias).exists()
        Question.objects.using(alias).create(text=f"turn {turn}", published_at=timezone.now())
    assert Question.objects.using(pair.site).count() == 1


@pytest.mark.parametrize("turn", [1, 2])
def test_the_oplog_is_empty_at_the_start(site: str, turn: int) -> None:
    """Emptying the tables leaves neither captured writes nor captured deletes behind."""
    assert not Capture.objects.using(site).exists()
    Question.objects.using(site).create(text=f"turn {turn}", published_at=timezone.now())


@pytest.mark.parametrize("turn", [1, 2])
def test_a_transaction_that_is_left_open_is_over(central: str, turn: int) -> None:
    """As a test that fails in the middle of a group leaves one."""
    assert not connections[central].in_atomic_block
    assert not Question.objects.using(central).exists()
    transaction.atomic(using=central).__enter__()
    Question.objects.using(central).create(text=f"turn {turn}", published_at=timezone.now())


def test_only_sites_hold_the_senders_tables(pair: Pair) -> None:
    tables = {
        alias: set(connections[alias].introspection.table_names())
        for alias in (pair.site, pair.central)
    }
    assert any(name.startswith("sockstream_sender") for name in tables[pair.site])
    assert not any(name.startswith("sockstream_receiver") for name in tables[pair.site])
    assert not any(name.startswith("sockstream_sender") for name in tables[pair.central])
