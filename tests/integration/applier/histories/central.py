"""Central's tables, compared with a site's by the keys of their rows."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import QuerySet

from sockstream.rows import Kind

from .tables import Key, Table, Value, Values


@dataclass
class Central:
    """Reads the tables of a database as a site would send them."""

    tables: Mapping[str, Table]
    using: str
    _keys: dict[str, dict[Value, Value]] = field(default_factory=dict)

    def rows(self) -> dict[str, dict[Key, Values]]:
        """The rows by table and key. A reference to a row that is not there is not hidden."""
        return {label: self._of(table) for label, table in self.tables.items()}

    def _of(self, table: Table) -> dict[Key, Values]:
        names = [column.name for column in table.row.columns]
        found = {}
        for row in self._values(table):
            values = dict(zip(names, row, strict=True))
            found[tuple(values[name] for name in table.key)] = values
        return found

    def _values(self, table: Table) -> Iterable[tuple[Value, ...]]:
        columns = table.row.columns
        rows: QuerySet[Any] = QuerySet(model=table.row.model, using=self.using)
        for row in rows.order_by().values_list(*(column.field.attname for column in columns)):
            yield tuple(
                self._key_of(column.parent, value) if column.kind is Kind.REFERENCE else wire(value)
                for column, value in zip(columns, row, strict=True)
            )

    def _key_of(self, label: str | None, number: Any) -> Value:
        """The key of the row that central calls so."""
        assert label is not None
        if number is None:
            return None
        if label not in self._keys:
            self._keys[label] = self._named(self.tables[label])
        return self._keys[label].get(number, f"no row {number}")

    def _named(self, table: Table) -> dict[Value, Value]:
        assert table.row.pk is not None
        rows: QuerySet[Any] = QuerySet(model=table.row.model, using=self.using)
        (key,) = table.row.key
        found = rows.order_by().values_list(table.row.pk.field.attname, key.field.attname)
        if key.kind is Kind.REFERENCE:
            return {pk: self._key_of(key.parent, value) for pk, value in found}
        return {pk: wire(value) for pk, value in found}

    def empty(self) -> None:
        """Delete all rows, those that point first."""
        for table in self.tables.values():
            rows: QuerySet[Any] = QuerySet(model=table.row.model, using=self.using)
            rows._raw_delete(self.using)


def wire(value: Any) -> Value:
    """A value as it stands on the wire, of the kinds that histories have."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, datetime.date):
        return str(value)
    return value
