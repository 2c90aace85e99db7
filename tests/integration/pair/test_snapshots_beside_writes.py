"""Each kind of write between any two steps of a snapshot: nothing of either is lost."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import IntegrityError

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.oplog.snapshot import Snapshot
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import shared_models
from tests.integration.pair.test_snapshots import is_equal, transfer
from tests.integration.pair.writes import ADDING, OPS, Op, Writes

IDS = ["sqlite-sqlite", "pg-pg"]
# Some of them add rows faster than they are copied.
MOST_WRITES = 60


@pytest.mark.parametrize("pair", [PAIRS[name] for name in IDS], ids=IDS, indirect=True)
@pytest.mark.parametrize("write", OPS, ids=lambda op: op.__name__)
def test_nothing_is_lost(pair: Pair, write: Op) -> None:
    """Numbered and applied together, so that live records and the snapshot's have one effect."""
    writes = Writes(pair.site)
    for add in [*ADDING, *ADDING, *ADDING]:
        add(writes, 3, 1)
    transfer(pair)
    tiny = Settings(MODELS=ours().MODELS, BATCH_RECORDS=2)
    rows = [model for model in shared_models(pair) if model._base_manager.using(pair.site).exists()]
    labels = [model._meta.label for model in rows]
    for step, _ in enumerate(Snapshot(pair.site, tiny, labels).steps()):
        if step < MOST_WRITES:
            with suppress(IntegrityError):
                write(writes, step, step + 1)
    transfer(pair)
    assert is_equal(pair)
