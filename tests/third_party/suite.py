"""Runs Wagtail's own tests on a site: what they write is committed, sent, compared, taken back.

Django's TestCase rolls everything back; here it works as Django has it for databases without
transactions. After each test, what it has changed has to be at central, row by row; then the site
is made what it was, which goes to central as well.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.db.models import Model
from django.test import TestCase, TransactionTestCase
from django.test.runner import DiscoverRunner

from demo.compare import compare
from sockstream.conf import settings as ours
from sockstream.rows import captured_models
from tests.third_party.router import CENTRAL, SITE
from tests.third_party.state import State

PATIENCE = 60.0
LOOK_EVERY = 0.005
_WRITE = re.compile(r'\s*(?:INSERT (?:OR \w+ )?INTO|UPDATE|DELETE FROM)\s+"?(\w+)', re.IGNORECASE)


class Runner(DiscoverRunner):
    """Django's test runner on the databases that are there. It takes no `--parallel`."""

    def setup_databases(self, **kwargs: Any) -> list[Any]:
        self.site = Site()
        self.site.take_the_place_of_transactions()
        return []

    def teardown_databases(self, old_config: Any, **kwargs: Any) -> None:
        self.site.check_all()


class Written:
    """An execute wrapper that notes which tables are written to."""

    def __init__(self) -> None:
        self.tables: set[str] = set()

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if found := _WRITE.match(str(sql)):
            self.tables.add(found[1])
        return execute(sql, params, many, context)


class Site:
    """What stands around each test where its transaction would."""

    def __init__(self) -> None:
        wait_for_central()
        self.tests = 0
        self.tables: set[str] = set()
        self.state = State(SITE)
        self.captured = set(captured_models(ours()))
        self.written = Written()
        connections[SITE].execute_wrappers.append(self.written)

    def take_the_place_of_transactions(self) -> None:
        """From here on, tests commit, and `settle` comes after each."""

        def settle(test: TransactionTestCase) -> None:
            # A test may use the databases that it names only; central is none of them.
            test._remove_databases_failures()  # type: ignore[attr-defined]
            try:
                found = self.settle()
            finally:
                test._add_databases_failures()  # type: ignore[attr-defined]
            assert not found, "\n".join(map(str, found))

        changes = {
            "_databases_support_transactions": classmethod(lambda _: False),
            "_fixture_setup": classmethod(_load),
            "_fixture_teardown": settle,
            "_should_reload_connections": lambda _: False,
            "assertNumQueries": _any_number_of_queries,
        }
        for name, function in changes.items():
            setattr(TestCase, name, function)
            if name != "_fixture_setup":
                setattr(TransactionTestCase, name, function)

    def settle(self) -> list[Any]:
        """Compare what a test has changed with central, and take it back; the differences."""
        self.tests += 1
        tables = self.written.tables & self.state.models.keys()
        changed = self.state.changed(tables) if tables else {}
        self.tables.update(changed)
        wait_for_central()
        found = compare(self._captured_of(changed), SITE, CENTRAL)
        self.state.restore(changed)
        self.written.tables.clear()
        return found

    def check_all(self) -> None:
        """Compare all there is, and say how much it was."""
        wait_for_central()
        assert not self.state.changed(), "a test has changed what nobody saw it write"
        found = compare(self.captured, SITE, CENTRAL)
        assert not found, "\n".join(map(str, found[:20]))
        seq, _ = positions()
        written = len(self._captured_of(self.tables))
        sys.stdout.write(f"{self.tests} tests, {written} models, {seq} records: all at central\n")

    def _captured_of(self, tables: Any) -> list[type[Model]]:
        models = (self.state.models[table] for table in tables)
        return [model for model in models if model in self.captured]


def _load(cls: type[TestCase]) -> None:
    if cls.fixtures:
        call_command("loaddata", *cls.fixtures, verbosity=0)
    cls.setUpTestData()


@contextmanager
def _any_number_of_queries(test: TransactionTestCase, *_: Any, **__: Any) -> Iterator[None]:
    """The numbers hold inside the transaction of a TestCase, and without a search index."""
    yield


def positions() -> tuple[int, int]:
    """The last seq at the site, with what is captured and has no number yet; central's offset."""
    with connections[SITE].cursor() as cursor:
        cursor.execute(
            "SELECT seq + (SELECT COUNT(*) FROM sockstream_sender_capture)"
            " FROM sockstream_sender_stream"
        )
        (seq,) = cursor.fetchone()
    with connections[CENTRAL].cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(seq), 0) FROM sockstream_receiver_offset")
        (offset,) = cursor.fetchone()
    return seq, offset


def wait_for_central() -> None:
    """Wait until everything that is committed at the site is applied at central."""
    deadline = time.monotonic() + PATIENCE
    while len(set(positions())) > 1:
        assert time.monotonic() < deadline, "seq {}, offset {}".format(*positions())
        time.sleep(LOOK_EVERY)
