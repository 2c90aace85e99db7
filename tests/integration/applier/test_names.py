"""A stream that comes under another name: recognised by its epoch, and left where it is."""

from __future__ import annotations

import pytest

from sockstream.exceptions import ConfigError
from sockstream.receiver.models import Offset
from sockstream.receiver.streams import registry
from sockstream.receiver.streams.names import Name
from sockstream.wire.errors import Class, WireError
from tests.integration.applier.feed import EPOCH, Feed, epoch_of
from tests.zoo.models import Slot

FORK = b"f" * 16


@pytest.fixture
def feed(central: str) -> Feed:
    """Two records of site-a/default that central has applied."""
    made = Feed()
    applier = made.applier(central)
    applier.apply([made.insert(Slot(name="1"), Slot(name="2")).batch()])
    return made


def refused(feed: Feed, using: str, source: str, **changes: object) -> WireError:
    with pytest.raises(WireError) as caught:
        feed.opened(using, source, **changes)
    return caught.value


@pytest.mark.parametrize("lowest", [1, 3])
def test_a_source_under_a_new_name(lowest: int, central: str, feed: Feed) -> None:
    """Whether the site still holds its first records or not."""
    error = refused(feed, central, "harbour", epoch=EPOCH, lowest_seq=lowest)
    assert (error.code, error.class_) == ("source-renamed", Class.PERSON)
    assert "harbour/default continues the stream site-a/default" in error.words
    assert "manage.py oplog_source rename site-a harbour" in error.mend
    row = Offset.objects.using(central).get(source__name="harbour")
    assert (row.error_code, row.seq, bytes(row.epoch)) == ("source-renamed", 0, b"")
    assert feed.opened(central).offset == 2


def test_a_new_epoch_under_a_new_name(central: str, feed: Feed) -> None:
    error = refused(Feed(), central, "harbour", epoch=FORK, parent_epoch=EPOCH)
    assert error.code == "source-renamed"


def test_a_stream_under_a_new_alias(central: str, feed: Feed) -> None:
    error = refused(feed, central, "site-a", stream="main", epoch=EPOCH)
    assert "manage.py oplog_source rename site-a/default site-a/main" in error.mend


def test_a_source_and_its_alias(central: str, feed: Feed) -> None:
    error = refused(feed, central, "har bour", stream="main", epoch=EPOCH)
    assert "oplog_source rename site-a/default 'har bour/main'" in error.mend


def test_a_known_source_with_the_history_of_another_one(central: str, feed: Feed) -> None:
    """Certificates, or databases, were exchanged: nothing is to be renamed."""
    other = Feed()
    other.applier(central, "site-b").apply([other.insert(Slot(name="b")).batch()])
    error = refused(feed, central, "site-b", epoch=EPOCH)
    assert (error.code, "oplog_source" in error.mend) == ("epoch-unknown", False)
    assert "site-b/default continues the stream site-a/default" in error.words
    assert other.opened(central, "site-b").offset == 1


def test_a_copy_that_is_adopted_is_a_site_of_its_own(central: str, feed: Feed) -> None:
    refused(Feed(), central, "copy", epoch=FORK, parent_epoch=EPOCH)
    registry.adopt(Name("copy", "default"), using=central)
    copy = Feed()
    applier = copy.applier(central, "copy", epoch=FORK, parent_epoch=EPOCH)
    applier.apply([copy.insert(Slot(name="of the copy")).batch()])
    assert copy.opened(central, "copy", epoch=FORK, parent_epoch=EPOCH).offset == 1
    assert feed.opened(central).offset == 2


def test_sources_that_central_has_only_heard_of_are_no_hindrance(central: str) -> None:
    """Nothing hangs on a name of which no record was applied."""
    Feed().opened(central, "site-a", epoch=FORK)
    assert Feed().opened(central, "site-b", epoch=FORK).offset == 0


def test_names_as_people_write_them(central: str) -> None:
    Feed().opened(central, "a/b", epoch=epoch_of("x"))
    assert Name.parse("a/b", central) == Name("a/b")
    assert Name.parse("a/b/default", central) == Name("a/b", "default")
    assert Name.parse("site/main", central) == Name("site", "main")
    assert str(Name.parse("site", central)) == "site"
    for wrong in ("", "site/", "/main"):
        with pytest.raises(ConfigError):
            Name.parse(wrong, central)
