"""SQLite cuts a pass that is too large, maybe within a transaction: central waits for its rest."""

from __future__ import annotations

from itertools import cycle

import pytest
from django.db import transaction

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.oplog.sequencer import Sequencer
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import is_applied
from tests.integration.pair.memory import Connection
from tests.zoo.models import Category

FROM_SQLITE = ["sqlite-sqlite", "sqlite-pg"]


@pytest.mark.parametrize(
    "pair", [PAIRS[name] for name in FROM_SQLITE], ids=FROM_SQLITE, indirect=True
)
def test_a_cut_between_a_row_and_what_it_points_to_arrives(pair: Pair) -> None:
    """As `loaddata` does it: a child first, then its parent; the keys are checked at the commit."""
    parent, child = Category(name="parent"), Category(name="child")
    child.parent = parent
    with transaction.atomic(using=pair.site):
        child.save(using=pair.site, force_insert=True)
        parent.save(using=pair.site, force_insert=True)
    for _ in Sequencer(pair.site, Settings(BATCH_RECORDS=1, GROUP_RECORDS=1)).steps():
        pass
    own = Settings(MODELS=ours().MODELS)
    Connection(pair.site, pair.central, own, [1 << 20], None).run(cycle([1]))
    assert is_applied(pair)
