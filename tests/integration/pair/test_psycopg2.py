"""Both ends with psycopg 2, which Django takes where psycopg 3 is not installed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from demo.compare import compare
from tests.databases import Databases, Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    SnapshotProcess,
    shared_models,
    wait_until_applied,
)
from tests.zoo.models import Author, Essay, Everything

WITHOUT_PSYCOPG3 = {"SOCKSTREAM_TEST_PSYCOPG2": "1"}


@pytest.fixture
def pair(databases: Databases) -> Pair:
    pytest.importorskip("psycopg2")
    pair = Pair("site_pg", "central_pg")
    databases.clean(pair.site, pair.central)
    return pair


def test_it_sends_and_applies(pair: Pair, certificates: Certificates) -> None:
    author = Author.objects.using(pair.site).create(name="one")
    receiver = ReceiverProcess(pair.central, certificates, environment=WITHOUT_PSYCOPG3)
    with (
        receiver,
        SenderProcess(
            pair.site, certificates, receiver.address, environment=WITHOUT_PSYCOPG3
        ) as sender,
    ):
        wait_until_applied(pair, sender, receiver)
        # The sender sleeps by now: the commit has to wake it.
        essay = Essay.objects.using(pair.site).create(title="two", author=author)
        essay.readers.add(author)
        Everything.objects.using(pair.site).create(
            json={"a": ["b'", '"']},
            binary=b"\0'\\",
            decimal=Decimal("1.5"),
            datetime=datetime(2026, 1, 2, tzinfo=UTC),
        )
        wait_until_applied(pair, sender, receiver)
        with SnapshotProcess(pair.site, certificates, environment=WITHOUT_PSYCOPG3) as snapshot:
            assert snapshot.wait() == 0
        wait_until_applied(pair, sender, receiver)
    assert not compare(shared_models(pair), pair.site, pair.central)
