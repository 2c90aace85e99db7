"""Any valid history, cut and delivered in any way, ends in the tables that the site has."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from sockstream.receiver.models import Offset, Parked, Reserved, Staged, State
from sockstream.wire.records import Batch
from tests.databases import Databases
from tests.integration.applier.histories.central import Central
from tests.integration.applier.histories.deliveries import Delivery, deliveries
from tests.integration.applier.histories.history import (
    History,
    histories,
    in_batches,
    shown,
    uncut,
)

EXAMPLES = int(os.environ.get("SOCKSTREAM_TEST_EXAMPLES", "60"))
"""How many histories; `make histories` tries more of them."""

MODELS = ["heirs", "ledger", "zoo"]

any_history = settings(
    max_examples=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
pytestmark = pytest.mark.timeout(60 + 10 * EXAMPLES)


@any_history
@given(data=st.data(), history=histories())
def test_any_history_in_any_pieces(
    central: str, databases: Databases, history: History, data: st.DataObject
) -> None:
    batches = data.draw(in_batches(history), label="batches")
    delivery = data.draw(deliveries(batches, central), label="delivery")
    check(history, delivery, databases)


@any_history
@given(history=histories())
def test_any_history_at_once(central: str, databases: Databases, history: History) -> None:
    check(history, Delivery(uncut(history), central), databases)


def check(history: History, delivery: Delivery, databases: Databases) -> None:
    note(f"history: {shown(history)}")
    databases.clean(delivery.using)
    with override_settings(SOCKSTREAM={"MODELS": MODELS}):
        delivery.run()
    assert Central(history.tables, delivery.using).rows() == history.rows
    check_the_end(delivery.using, delivery.batches)


def check_the_end(using: str, batches: Sequence[Batch]) -> None:
    """Nothing is left of the way, and nobody else was seen at work."""
    row = Offset.objects.using(using).get()
    assert row.seq == (batches[-1].last_seq if batches else 0)
    assert row.state != State.STOPPED
    assert (row.inserts_met, row.updates_missed, row.deletes_missed) == (0, 0, 0)
    assert not Parked.objects.using(using).exists()
    assert not Reserved.objects.using(using).exists()
    assert not Staged.objects.using(using).exists()
