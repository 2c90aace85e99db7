"""What was written without being captured, and the note of it: a snapshot of the model is due.

Each installation says what it made for each model. The next one, and whoever looks in between,
compares that with what is there: a trigger that went away since, by whatever hand, let writes pass
for a while. A model that is captured for the first time, or has new columns, has rows that no
trigger has seen. Nothing is remembered in the process: it may be killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from django.db import connections, models

from sockstream.rows import Column, Kind
from sockstream.sender.models import CaptureLayout, Due, Installed

from .dialects import Dialect, Name, Thing
from .layouts import Plan

# What was not captured of a model.
FIRST = "rows from before they were captured"
LOST = "writes while triggers were missing"
GAINED = "the values of new columns"
_COMPARED = {Kind.INT, Kind.BOOL, Kind.TEXT, Kind.DATE, Kind.UUID, Kind.DURATION}
_AT_ONCE = 100
# The layout of a model that is not captured any more, or not now.
_LEFT = 0


class Installation:
    """What was installed for each model when it was done last."""

    def __init__(self, using: str) -> None:
        self._using = using
        rows = Installed.objects.using(self._using).values_list("model", "layout", "triggers")
        self._before = {model: (layout, json.loads(made)) for model, layout, made in rows}

    def lost(self, found: Mapping[Name, str]) -> list[str]:
        """The models whose triggers are no longer those that were installed."""
        there = {str(name): _digest(text) for name, text in found.items()}
        return [
            label
            for label, (_, made) in self._before.items()
            if any(there.get(name) != digest for name, digest in made.items())
        ]

    def first(self, plans: Sequence[Plan]) -> dict[str, str]:
        """The models that have rows, and are captured for the first time."""
        return dict.fromkeys(
            self._not_empty([plan for plan in plans if plan.row.label not in self._before]), FIRST
        )

    def missed(
        self, dialect: Dialect, plans: Sequence[Plan], found: Mapping[Name, str]
    ) -> dict[str, str]:
        """What was not captured, by the model's label. `found`: what was there before, by its text.

        Call it when everything is installed: what is written from then on is captured.
        """
        gone, missed = set(self.lost(found)), self.first(plans)
        for plan in plans:
            label = plan.row.label
            if label not in self._before:
                continue
            layout, _ = self._before[label]
            if label in gone or layout == _LEFT:
                missed[label] = LOST
            elif layout != plan.number and self._gained(dialect, plan, layout):
                missed[label] = GAINED
        return missed

    def store(self, plans: Iterable[Plan], of: Callable[[Plan], Mapping[Name, Thing]]) -> None:
        """Remember what is installed now; `of` gives what each plan has for itself."""
        fresh, here = [], set()
        for plan in plans:
            label = plan.row.label
            here.add(label)
            made = {str(name): _digest(thing.text) for name, thing in of(plan).items()}
            if label not in self._before:
                text = json.dumps(made)
                fresh.append(Installed(model=label, layout=plan.number, triggers=text))
            else:
                self._change(label, plan.number, made)
        Installed.objects.using(self._using).bulk_create(fresh)
        for label in self._before.keys() - here:
            # A table that is made anew has none for a moment, and comes back.
            if self._before[label][1]:
                self._change(label, _LEFT, {})

    def forget(self, names: Collection[Name]) -> None:
        """These were taken away while nobody could write: nothing is lost with them."""
        if not names:
            return
        gone = {str(name) for name in names}
        for label, (layout, made) in self._before.items():
            left = {name: digest for name, digest in made.items() if name not in gone}
            self._change(label, layout, left)

    def _change(self, label: str, layout: int, made: dict[str, str]) -> None:
        if self._before[label] != (layout, made):
            self._before[label] = layout, made
            rows = Installed.objects.using(self._using).filter(model=label)
            rows.update(layout=layout, triggers=json.dumps(made))

    def _gained(self, dialect: Dialect, plan: Plan, before: int) -> bool:
        """Whether a row holds something in a new column that central's migration may not give."""
        stored = CaptureLayout.objects.using(self._using).filter(id=before).first()
        columns = json.loads(stored.definition)["columns"] if stored else []
        known = {column["name"] for column in columns}
        gained = [column for column in plan.row.columns if column.name not in known]
        if not gained:
            return False
        conditions = [_differs(dialect, column) for column in gained]
        either = " OR ".join(sql for sql, _ in conditions)
        table = dialect.table(plan.row.table).replace("%", "%%")
        params = [value for _, values in conditions for value in values]
        return bool(dialect.execute(f"SELECT 1 FROM {table} r WHERE {either} LIMIT 1", params))

    def _not_empty(self, plans: Sequence[Plan]) -> list[str]:
        """The models that have rows, asked for many at a time: a `flush` asks for all of them."""
        connection = connections[self._using]
        quote, suffix = connection.ops.quote_name, connection.features.bare_select_suffix
        found: list[str] = []
        for start in range(0, len(plans), _AT_ONCE):
            some = plans[start : start + _AT_ONCE]
            asked = " UNION ALL ".join(
                f"SELECT {at}{suffix} WHERE EXISTS (SELECT 1 FROM {quote(plan.row.table)})"
                for at, plan in enumerate(some)
            )
            with connection.cursor() as cursor:
                cursor.execute(asked)
                found += [some[at].row.label for (at,) in cursor.fetchall()]
        return found


def note(using: str, reasons: Mapping[str, str]) -> None:
    """A snapshot of these models is due."""
    Due.objects.using(using).bulk_create(
        Due(model=label, reason=reason) for label, reason in reasons.items()
    )


def in_words(reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason, with its models."""
    lines = []
    for reason in dict.fromkeys(reasons.values()):
        labels = [label for label, why in reasons.items() if why == reason]
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        lines.append(
            f"{labels[0]}{more}: {reason} were not captured. oplog_send sends them (a snapshot)."
        )
    return lines


def _differs(dialect: Dialect, column: Column) -> tuple[str, list[Any]]:
    """The condition that a row has something else than the constant default in this column."""
    field, sql = column.field, f"r.{dialect.quote(column.column)}".replace("%", "%%")
    default = getattr(field, "db_default", models.NOT_PROVIDED)
    default = getattr(default, "value", default)  # a constant may be wrapped into Value
    if default is models.NOT_PROVIDED:
        default = field.default if field.has_default() else None
    if default is None and not field.null and field.empty_strings_allowed:
        default = ""
    if default is None:
        return f"{sql} IS NOT NULL", []
    if column.kind not in _COMPARED or callable(default) or hasattr(default, "resolve_expression"):
        return "1 = 1", []
    value = field.get_db_prep_save(default, dialect.connection)
    return dialect.distinct(sql), [value]


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()
