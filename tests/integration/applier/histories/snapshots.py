"""A snapshot beside the site's writes: killed perhaps, taken again perhaps, ended in any case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hypothesis import strategies as st

from sockstream.rows import writing_order
from sockstream.wire.records import BEGIN, END, LOAD, SAVE

from .site import Record
from .tables import Table
from .writes import Writer

_AT_ONCE = 3


@dataclass
class Snapshots:
    """Takes snapshots of a site; `twice` if the first try may be killed."""

    writer: Writer
    twice: bool

    def take(self) -> None:
        """Record a snapshot, and what is written meanwhile."""
        site = self.writer.site
        ordered = writing_order(table.row for table in site.tables.values())
        tables = [site.tables[row.label] for row in ordered]
        # What is lost may be the delete of a row that is named by one which goes later.
        named = any(table.is_named_by_another for table in tables)
        if (site.habits.early or not named) and self.writer.draw(st.booleans()):
            self._lose_writes()
        if self.twice and self.writer.draw(st.booleans()):
            self._try(tables, self.writer.number(0, 2 * len(tables)))
            self._meanwhile()
        self._try(tables)

    def _lose_writes(self) -> None:
        """What is written while nothing captures is what a snapshot is for."""
        before = len(self.writer.site.records)
        self.writer.transaction()
        del self.writer.site.records[before:]

    def _try(self, tables: list[Table], killed_after: int | None = None) -> None:
        """The marks and rows of each table; a try that is killed brings some of them."""
        steps: list[Callable[[], None]] = []
        for table in tables:
            steps += [partial(self._mark, LOAD, table), partial(self._bring, table)]
        for table in tables:
            self._mark(BEGIN, table)
        for step in steps[:killed_after]:
            self._meanwhile()
            step()
        if killed_after is None:
            self._meanwhile()
            for table in reversed(tables):
                self._mark(END, table)

    def _bring(self, table: Table) -> None:
        """The rows by their keys, some at a time, as each is when its turn comes."""
        site = self.writer.site
        after = ""
        while some := sorted(k for k in map(repr, site.rows[table.label]) if k > after)[:_AT_ONCE]:
            for key, values in sorted(site.rows[table.label].items(), key=lambda row: repr(row[0])):
                if repr(key) in some:
                    ordered = (*table.layout.keys, *table.layout.others)
                    row = tuple(values[name] for name in ordered)
                    site.records.append(Record(SAVE, table.layout, row))
            after = some[-1]
            self._meanwhile()

    def _meanwhile(self) -> None:
        if self.writer.number(0, 3) == 0:
            self.writer.transaction()

    def _mark(self, op: int, table: Table) -> None:
        self.writer.site.records.append(Record(op, table.layout))
