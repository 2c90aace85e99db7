"""MariaDB at central looks at foreign keys after each statement, and stops what breaks one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.test import override_settings

from sockstream.receiver.applying.applier import Stopped
from sockstream.receiver.models import Offset
from tests.databases import Databases
from tests.integration.applier.feed import Feed
from tests.rivals.models import Runner, Supporter
from tests.zoo.models import Category

Rows = Sequence[Any]
# The rows that are there, what is written, and the rows whose records may be named.
History = tuple[Rows, Callable[[Feed], Feed], Rows]


def tree() -> tuple[Category, Category]:
    parent = Category(name="parent")
    return parent, Category(name="child", parent=parent)


def a_child_before_its_parent() -> History:
    parent, child = tree()
    return (), lambda feed: feed.insert(child, parent), [child, parent]


def a_parent_that_is_deleted_before_its_child() -> History:
    parent, child = tree()
    return (parent, child), lambda feed: feed.delete(parent, child), [parent, child]


def unique_values_that_rows_swap_to_which_others_refer() -> History:
    one, two = (Runner(pkid=n + 1, bib=n, title=str(n), lane=n) for n in range(2))
    fans = [Supporter(runner=row, loose=row) for row in (one, two)]

    def swap(feed: Feed) -> Feed:
        one.bib, two.bib = two.bib, one.bib
        return feed.update(one, two)

    return (one, two, *fans), swap, [one, two]


HISTORIES = (
    a_child_before_its_parent,
    a_parent_that_is_deleted_before_its_child,
    unique_values_that_rows_swap_to_which_others_refer,
)


@pytest.mark.parametrize("history", HISTORIES)
def test_what_mariadb_refuses_stops_at_its_record(
    history: Callable[[], History], databases: Databases
) -> None:
    """docs/operations.md says which. Its group is not begun, and what came before stays."""
    databases.clean("central_maria")
    before, write, named = history()
    feed = Feed()
    with override_settings(SOCKSTREAM={"MODELS": ["zoo", "rivals"]}):
        applier = feed.applier("central_maria")
        applier.apply([feed.insert(Category(name="before"), *before).batch()])
        applied = feed.seq
        write(feed.insert(Category(name="beside")))
        with pytest.raises(Stopped, match=r"foreign key|Duplicate entry") as stopped:
            applier.apply([feed.batch()])
    assert stopped.value.error.code == "record-refused"
    assert stopped.value.key in {str(row.id) for row in named}
    assert Offset.objects.using("central_maria").get().seq == applied
    names = Category.objects.using("central_maria").values_list("name", flat=True)
    assert "before" in names
    assert "beside" not in names
