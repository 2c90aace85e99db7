"""The oplog has no cap that would drop anything: it says when it is large."""

from __future__ import annotations

from django.test import override_settings

from polls.models import Tag
from sockstream.conf import settings
from sockstream.sender import status
from sockstream.sender.models import Batch
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer


def number(site: str, count: int) -> None:
    Tag.objects.using(site).bulk_create(Tag(name=f"tag {n} of {count}") for n in range(count))
    for _ in Sequencer(site, settings()).steps():
        pass


def test_its_size_is_that_of_its_records(site: str) -> None:
    assert store.size(site) == 0
    number(site, 10)
    number(site, 20)
    held = Batch.objects.using(site).values_list("data", flat=True)
    assert store.size(site) == sum(len(data) for data in held) > 30 * 16


def test_the_status_says_when_it_is_large(site: str) -> None:
    number(site, 10)
    size = store.size(site)
    for most, large in ((size - 1, True), (size, False)):
        with override_settings(SOCKSTREAM={"MODELS": ["polls"], "OPLOG_MAX_BYTES": most}):
            [row] = status.report(site)
        assert (row["oplog_bytes"], row["oplog_large"]) == (size, large)
