"""Which reference is broken, when a database only says at the commit that one is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, models, router
from django.db.models import QuerySet

from sockstream.exceptions import Refusal
from sockstream.receiver.applying.faults import RecordFault, shown
from sockstream.receiver.applying.halving import fault_of
from sockstream.receiver.applying.parts import Part
from sockstream.rows import Row, describe
from sockstream.wire.records import DELETE

from .relations import foreign_keys, points_by_number, references


@dataclass(frozen=True, slots=True)
class Broken:
    """A row whose reference points to nothing. The names are as `faults.shown` gives them."""

    model: str
    key: str
    field: str
    target: str
    missing: str

    def refusal(self) -> Refusal:
        """The reason to give if the row was written."""
        return Refusal(
            "missing-reference",
            f"{self.field!r} of {self.model} {self.key} points to {self.target} {self.missing}, "
            "which central does not have",
            f"Let the site send {self.target} too",
        )

    def refused_delete(self) -> Refusal:
        """The reason to give if what the row points to was deleted."""
        return Refusal(
            "record-refused",
            f"{self.target} {self.missing} cannot be deleted: central's {self.model} {self.key} "
            f"still points to it by {self.field!r}",
            f"Change or delete that row of {self.model} at central; "
            "the stream then goes on by itself",
        )

    def fault(self, parts: Iterable[Part], allowed: Collection[str]) -> RecordFault:
        """The last record that wrote the row, or deleted what it points to.

        Its cause is the reason. `allowed` are the models that sites send: a row of another one is
        central's own, so that only a delete can be at fault.
        """
        found, deleted, last_seq = None, False, 0
        for part in parts:
            last_seq = part.first_seq + len(part.records) - 1
            for at, (op, *_) in enumerate(part.records):
                gone = op == DELETE
                fault = fault_of(part, at)
                sought = (self.target, self.missing) if gone else (self.model, self.key)
                if (fault.model, fault.key) == sought:
                    found, deleted = fault, gone
        if found is None:
            deleted = self.model not in allowed
            named = (self.target, self.missing) if deleted else (self.model, self.key)
            found = RecordFault(*named, last_seq)
        found.__cause__ = self.refused_delete() if deleted else self.refusal()
        return found


def find_broken(labels: Iterable[str], allowed: Any, using: str) -> Broken | None:
    """A row that breaks a foreign key from or to one of the models, in the open transaction.

    Reads whole tables: for the case that something is known to be broken.
    """
    for model in [allowed[label] for label in labels if label in allowed]:
        for f in foreign_keys(model):
            here = router.allow_migrate_model(using, f.model)
            if here and (found := _broken(f, using)) is not None:
                return found
    return None


def find_pointing(
    row: Row, keys: Mapping[int, Sequence[Any]], using: str, *, constrained: bool = False
) -> Broken | None:
    """A row that points to one of those with these local primary keys, which are not there.

    `keys` has the key of each by its parts. Unless only what is `constrained` is asked for, foreign
    keys without a constraint count too.
    """
    for f in foreign_keys(row.model) if constrained else references(row.model):
        if not points_by_number(f, row.model, using):
            continue
        child = describe(f.model)
        names = [column.field.attname for column in child.key]
        rows: QuerySet[Any] = QuerySet(model=f.model, using=using)
        pointing = rows.filter(**{f"{f.attname}__in": list(keys)})
        found = pointing.values_list(f.attname, *names).first()
        if found is not None:
            parts = zip(found[1:], child.key, strict=True)
            return Broken(
                model=child.label,
                key=", ".join(stored_shown(value, column.field) for value, column in parts),
                field=f.name,
                target=row.label,
                missing=shown(keys[found[0]]),
            )
    return None


def _broken(f: Any, using: str) -> Broken | None:
    row = describe(f.model)
    target = f.target_field
    connection = connections[using]
    quote = connection.ops.quote_name
    keys = ", ".join(f"c.{quote(column.column)}" for column in row.key)
    reference, pointed = quote(f.column), quote(target.column)
    parents = quote(target.model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT c.{reference}, {keys} FROM {quote(row.table)} c "
            f"LEFT JOIN {parents} p ON p.{pointed} = c.{reference} "
            f"WHERE c.{reference} IS NOT NULL AND p.{pointed} IS NULL LIMIT 1"
        )
        found = cursor.fetchone()
    if found is None:
        return None
    parts = [
        stored_shown(value, column.field) for value, column in zip(found[1:], row.key, strict=True)
    ]
    return Broken(
        model=row.label,
        key=", ".join(parts),
        field=f.name,
        target=target.model._meta.label_lower,
        missing=stored_shown(found[0], target),
    )


def stored_shown(value: Any, f: Any) -> str:
    """A stored value as `shown` gives it when it comes on the wire."""
    while f.remote_field:
        f = f.target_field
    if isinstance(value, str) and isinstance(f, models.UUIDField):
        with suppress(ValueError):  # SQLite stores any text there
            value = UUID(value)
    return shown([str(value) if isinstance(value, UUID) else value])
