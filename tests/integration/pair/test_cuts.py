"""A pass that is too large is cut: central waits for the rest of what belongs together.

On SQLite the cut may be within a transaction. On PostgreSQL it is between two, of which the second
one may have written what the first one points to: foreign keys are checked at the commit.
"""

from __future__ import annotations

from itertools import cycle, pairwise

import pytest
from django.db import connections, transaction

from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.oplog import sequencer
from sockstream.sender.oplog.sequencer import Sequencer
from tests.conftest import PAIRS
from tests.databases import Pair
from tests.ends import is_applied
from tests.integration.pair.memory import Connection
from tests.zoo.models import Category

FROM_SQLITE = ["sqlite-sqlite", "sqlite-pg"]
FROM_POSTGRESQL = ["pg-pg", "pg-sqlite"]


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
    number_and_send(pair, Settings(BATCH_RECORDS=1, GROUP_RECORDS=1))


@pytest.mark.parametrize(
    "pair", [PAIRS[name] for name in FROM_POSTGRESQL], ids=FROM_POSTGRESQL, indirect=True
)
@pytest.mark.parametrize("generations", [2, 5])
def test_a_cut_between_transactions_that_depend_on_each_other_arrives(
    pair: Pair, generations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each child is captured before its parent, whose transaction was the first to commit."""
    monkeypatch.setattr(sequencer, "_PASS_RECORDS", 1)
    family = [Category(name=str(number)) for number in range(generations)]
    for child, parent in pairwise(family):
        child.parent = parent
    writers = [connections[pair.site].copy() for _ in family]
    for row, writer in zip(family, writers, strict=True):
        with writer.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(
                "INSERT INTO zoo_category (id, name, parent_id) VALUES (%s, %s, %s)",
                [row.id, row.name, row.parent_id],
            )
    for writer in reversed(writers):
        with writer.cursor() as cursor:
            cursor.execute("COMMIT")
        writer.close()
    number_and_send(pair, Settings(BATCH_RECORDS=1))
    assert Category.objects.using(pair.central).count() == generations


def number_and_send(pair: Pair, numbering: Settings) -> None:
    for _ in Sequencer(pair.site, numbering).steps():
        pass
    own = Settings(MODELS=ours().MODELS, COMMIT_RECORDS=1)
    Connection(pair.site, pair.central, own, [1 << 20], None).run(cycle([1]))
    assert is_applied(pair)
