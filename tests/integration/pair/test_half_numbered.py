"""On SQLite a pass is sent while it is being numbered: what if its rest cannot be?"""

from __future__ import annotations

import pytest
from django.db import transaction

from demo.compare import compare
from polls.models import Tag
from sockstream.receiver.models import Offset
from sockstream.sender import status
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    position,
    shared_models,
    wait_until,
    wait_until_applied,
)
from tests.zoo.models import Parameter

RECORDS = 400
TOO_LARGE = 3_000
SMALL = {"BATCH_RECORDS": 10, "MAX_RECORD": TOO_LARGE}

FROM_SQLITE = ["sqlite-sqlite", "sqlite-pg"]

pytestmark = pytest.mark.parametrize(
    "pair", [PAIRS[name] for name in FROM_SQLITE], ids=FROM_SQLITE, indirect=True
)


def staged(pair: Pair) -> int:
    return Offset.objects.using(pair.central).get().staged_seq


def test_a_record_too_large_behind_what_was_sent(pair: Pair, certificates: Certificates) -> None:
    with ReceiverProcess(pair.central, certificates) as receiver:
        with SenderProcess(pair.site, certificates, receiver.address, settings=SMALL) as sender:
            # Only over a road that is open is a pass sent while it is being numbered.
            sender.wait_until_connected()
            with transaction.atomic(using=pair.site):
                Tag.objects.using(pair.site).bulk_create(Tag(name=str(n)) for n in range(RECORDS))
                Parameter(name="large", value="x" * TOO_LARGE).save(using=pair.site)
            sender.wait_for_line("more than MAX_RECORD")
            # Central keeps what has come, applies nothing of it, and the status says why.
            wait_until(lambda: staged(pair) == RECORDS, "staged")
            [now] = status.report(pair.site)
            assert now["error_code"] == "record-too-large"
            assert position(pair) == (RECORDS, 0)
            assert not Tag.objects.using(pair.central).exists()
            assert sender.stop() == 0, sender.log
        enough = {**SMALL, "MAX_RECORD": 2 * TOO_LARGE}
        with SenderProcess(pair.site, certificates, receiver.address, settings=enough) as sender:
            wait_until_applied(pair, sender, receiver)
            wait_until(lambda: not status.report(pair.site)[0]["error_code"], "in order again")
            assert sender.stop() == 0, sender.log
        assert receiver.stop() == 0, receiver.log
    assert position(pair) == (RECORDS + 1, RECORDS + 1)
    assert compare(shared_models(pair), pair.site, pair.central) == []
