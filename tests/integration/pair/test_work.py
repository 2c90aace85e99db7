"""How much work a record takes, counted rather than timed: it may become less, and not more.

Queries, calls and bytes are those of the records between a small and a large backlog, so that what
is done once does not count.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import connections

from benchmarks.workload import ROUND, Site
from polls.models import Choice, Question
from sockstream.conf import Settings
from sockstream.conf import settings as ours
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from tests.conftest import PAIRS
from tests.databases import Databases, Pair
from tests.integration.pair.memory import Central, Connection

IDS = ["sqlite-sqlite", "pg-pg"]
FEW, MANY = 4, 12
MOST_BYTES = 8 << 20
AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Most:
    """The most for a batch of a thousand records (queries), or for a record (calls, bytes)."""

    site: float
    central: float
    calls: float
    compressed: float = 35.0
    plain: float = 53.5


MOST = {
    "sqlite-sqlite": Most(site=7.0, central=3.25, calls=22.0),
    "pg-pg": Most(site=7.0, central=3.5, calls=25.5),
}


@contextmanager
def counted(done: Counter[str], pair: Pair) -> Iterator[None]:
    """Count queries by their database, and calls of functions, C's too."""

    def query(name: str) -> Callable[..., Any]:
        def count(execute: Callable[..., Any], *rest: Any) -> Any:
            done[name] += 1
            return execute(*rest)

        return count

    def call(frame: FrameType, event: str, argument: Any) -> None:
        if event in {"call", "c_call"}:
            done["calls"] += 1

    with ExitStack() as stack:
        for name, using in (("site", pair.site), ("central", pair.central)):
            stack.enter_context(connections[using].execute_wrapper(query(name)))
        sys.setprofile(call)
        stack.callback(sys.setprofile, None)
        yield


def work(pair: Pair, site: Site, rounds: int, settings: Settings) -> Counter[str]:
    """What it takes to number, send and apply some rounds."""
    for _ in range(rounds):
        site.write()
    done: Counter[str] = Counter()
    with counted(done, pair), sized(done):
        bring(pair, settings)
    return done


def bring(pair: Pair, settings: Settings) -> None:
    """Number, send and apply what there is."""
    for _ in Sequencer(pair.site, settings).steps():
        pass
    Connection(pair.site, pair.central, settings, [1 << 20], None).run(cycle([5]))


def allocated(pair: Pair, site: Site, rounds: int) -> int:
    """The most bytes that Python had allocated for it at once."""
    for _ in range(rounds):
        site.write()
    gc.collect()
    tracemalloc.start()
    try:
        bring(pair, Settings(MODELS=ours().MODELS))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def sized(done: Counter[str]) -> Iterator[None]:
    """Count the bytes towards central."""
    receive = Central.receive

    def count(self: Central, data: bytes) -> None:
        done["bytes"] += len(data)
        receive(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Central, "receive", count)
        yield


@pytest.mark.parametrize("pair", [PAIRS[name] for name in IDS], ids=IDS, indirect=True)
@pytest.mark.parametrize("compress", [True, False])
def test_a_record_takes_no_more_work_than_before(
    compress: bool, pair: Pair, request: pytest.FixtureRequest
) -> None:
    most = MOST[request.node.callspec.id.partition("-")[2]]
    settings = Settings(MODELS=ours().MODELS, COMPRESS=compress)
    site = Site(pair.site, Question, Choice)
    site.fill(2)
    work(pair, site, 1, settings)
    few, many = (work(pair, site, rounds, settings) for rounds in (FEW, MANY))
    more = {what: (many[what] - few[what]) / (MANY - FEW) for what in many}
    sys.stdout.write(f"for a thousand records: {more}\n")
    assert more["site"] <= most.site
    assert more["central"] <= most.central
    assert more["calls"] / ROUND <= most.calls
    assert more["bytes"] / ROUND <= (most.compressed if compress else most.plain)


@pytest.mark.parametrize("pair", [PAIRS[name] for name in IDS], ids=IDS, indirect=True)
def test_many_records_take_no_more_memory_than_few(pair: Pair) -> None:
    site = Site(pair.site, Question, Choice)
    site.fill(2)
    allocated(pair, site, 1)
    few, many = allocated(pair, site, FEW), allocated(pair, site, MANY)
    sys.stdout.write(f"bytes at once: {few:,} of {FEW} rounds, {many:,} of {MANY}\n")
    assert many <= MOST_BYTES


def test_an_oplog_that_was_read_to_its_end_is_left_alone_until_there_is_news(
    monkeypatch: pytest.MonkeyPatch, databases: Databases
) -> None:
    """An ack alone, and there is one for each commit, is no reason to look into the oplog."""
    pair = PAIRS["sqlite-sqlite"]
    databases.clean(pair.site, pair.central)
    read = Mock(side_effect=store.read)
    monkeypatch.setattr(store, "read", read)
    settings = Settings(MODELS=ours().MODELS)
    connection = Connection(pair.site, pair.central, settings, [1 << 20], None)
    central, road = connection.central, connection.road
    with road:
        road.open()
        while road.advance():
            pass
        Question(text="why?", published_at=AT).save(using=pair.site)
        for _ in Sequencer(pair.site, settings).steps():
            pass
        read.reset_mock()
        road.advance(news=False)
        assert not read.called
        assert not central.waiting
        road.advance(news=True)
        assert read.call_count == len(central.waiting) == 1
        assert central.work(1)
        assert road.advance(news=False)
        assert road.acked == 1
        assert read.call_count == 1
    central.lose()
