"""What a stream may write: rows belong to whoever brought them.

A row that another stream has brought, or that is central's own, is neither changed nor deleted: the
stream stops with `not-yours`. Equal content is taken over in silence. Whether rows are ours is
looked at by one count for all that is updated or deleted; an insert that meets no row asks nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from django.db.backends.utils import CursorWrapper

from sockstream.conf import settings
from sockstream.exceptions import Refusal
from sockstream.receiver.applying.halving import fault_of
from sockstream.receiver.applying.parts import Part
from sockstream.receiver.applying.plans import Plan
from sockstream.receiver.models import HeldRow, Holding, Owner, Source
from sockstream.rows import Column, captured_models, shared_models
from sockstream.wire.records import DELETE, INSERT, SAVE, UPDATE

from .effects import Table
from .holdings import Holdings, stored_names
from .memory import Memory
from .reduce import Key
from .references import References

_AT_ONCE = 500
_NOBODY = ""
_USED = Holding.Adoption.USED

Run = Sequence[Part]


class Unexpected(Refusal):
    """Rows are not as the site found them: whose they are has to be looked at."""

    def __init__(self) -> None:
        super().__init__("record-refused", "Central's rows are not what the site's records expect")


class Claims:
    """What one stream may write, looked at in the caller's transaction."""

    def __init__(
        self,
        source: str,
        stream: str,
        using: str,
        memory: Memory,
        holdings: Holdings,
        references: References,
    ) -> None:
        own = settings()
        self._source = source
        self._stream = stream
        self._using = using
        self._memory = memory
        self._holdings = holdings
        self._references = references
        self._adopts_all = own.ADOPT
        self._shared = {model._meta.label_lower for model in shared_models(own)}
        self._taken = {model._meta.label_lower for model in captured_models(own)}

    def is_shared(self, label: str) -> bool:
        """Whether every source may write the model."""
        return label in self._shared

    def claim(self, plan: Plan) -> None:
        """Note, in the caller's transaction, that the stream writes the plan's model.

        Raises Refusal with `key-collision` if its keys mean nothing elsewhere, and another stream
        writes it.
        """
        if plan.row.is_global or self.is_shared(plan.label) or plan.label in self._memory.owned:
            return
        source = Source.objects.using(self._using).get(name=self._source)
        owner, _ = (
            Owner.objects.using(self._using)
            .select_related("source")
            .get_or_create(model=plan.label, defaults={"source": source, "stream": self._stream})
        )
        if not self._is_ours(owner):
            raise Refusal(
                "key-collision",
                f"{plan.label} has keys that two sites can both give, and "
                f"{owner.source.name}/{owner.stream} writes it already",
                "Give the model a UUID key, or let one site only send it",
            )
        self._memory.owned.add(plan.label)

    def _is_ours(self, owner: Owner) -> bool:
        return (owner.source.name, owner.stream) == (self._source, self._stream)

    # References by a key that central numbers itself.

    def require_meaning(self, table: Table, run: Run) -> None:
        """Raises RecordFault if a row points to one by a number that is somebody else's here."""
        for number in table.plan.numbers_elsewhere:
            column = table.plan.columns[number]
            if column.parent in self._memory.owned or self.is_shared(str(column.parent)):
                continue
            pointed = {row[number] for row in table.net.last.values() if row is not None} - {None}
            if pointed and (why := self._meaningless(column, pointed)) is not None:
                raise _fault(run, table.plan.label, partial(_points, number, pointed)) from why

    def _meaningless(self, column: Column, pointed: set[Any]) -> Refusal | None:
        parent = str(column.parent)
        owners = Owner.objects.using(self._using).select_related("source")
        if (owner := owners.filter(model=parent).first()) is not None:
            if self._is_ours(owner):
                self._memory.owned.add(parent)
                return None
            whose = f"those that {owner.source.name}/{owner.stream} writes"
        elif parent not in self._taken or self._any_there(column, pointed):
            whose = "central's own"
        else:
            return None
        return Refusal(
            "key-collision",
            f"{column.name!r} points to rows of {parent} by numbers of the site, and at central "
            f"these numbers are {whose}",
            f'Give {parent} a UUID key, or name it in SOCKSTREAM["SHARED"] if its numbers mean '
            "the same everywhere",
        )

    def _any_there(self, column: Column, pointed: set[Any]) -> bool:
        rows = column.field.related_model._base_manager.using(self._using)
        name = f"{column.field.target_field.attname}__in"
        some = list(pointed)
        return any(
            rows.filter(**{name: some[start : start + _AT_ONCE]}).exists()
            for start in range(0, len(some), _AT_ONCE)
        )

    # Rows.

    def expect(self, tables: Mapping[str, Table], cursor: CursorWrapper) -> None:
        """Take inserted rows for new ones. Raises Unexpected if a changed one is not ours."""
        for label, table in tables.items():
            first = table.net.first
            keys = [key for key, op in first.items() if op in (UPDATE, DELETE)]
            if keys and not self.is_shared(label):
                names, _ = stored_names(table.plan.row, keys)
                if self._holdings.count(label, names, cursor) < len(keys):
                    raise Unexpected

    def judge(self, tables: Mapping[str, Table], run: Run, cursor: CursorWrapper) -> int:
        """Look whose the rows are that the records meet; take over what may be taken over.

        Returns how many rows that the site inserts were there with equal content. Raises
        RecordFault with `not-yours`.
        """
        return sum(
            self._judge(table, run, cursor)
            for label, table in tables.items()
            if not self.is_shared(label)
        )

    def _judge(self, table: Table, run: Run, cursor: CursorWrapper) -> int:
        plan, net = table.plan, table.net
        strangers = self._strangers(plan, list(net.last), cursor)
        if not strangers:
            return 0
        holders = self._holders(plan, strangers)
        nobodys = [key for key in strangers if key not in holders]
        equal = set(self._equal(table, nobodys, cursor))
        adopted = [key for key in nobodys if key not in equal]
        if adopted and not self._adopts(plan.label):
            holders |= dict.fromkeys(adopted, _NOBODY)
        if holders:
            why = self._not_yours(plan.label, Counter(holders.values()))
            raise _fault(run, plan.label, lambda _, row: net.key(row) in holders) from why
        self._holdings.add(plan.row, nobodys, cursor)
        return sum(net.first[key] == INSERT for key in equal)

    def _strangers(self, plan: Plan, keys: Sequence[Key], cursor: CursorWrapper) -> list[Key]:
        """Those of the keys whose row is there, and not ours."""
        names, _ = stored_names(plan.row, keys)
        held = self._holdings.held(plan.label, names, cursor)
        others = [key for key, name in zip(keys, names, strict=True) if name not in held]
        if not others:
            return []
        parts = others if plan.key_width > 1 else [(key,) for key in others]
        columns: list[Sequence[Any]] = list(zip(*parts, strict=True))
        self._translate(plan, plan.key_references, columns)
        found = plan.statements.find(cursor, columns)
        return [key for key, there in zip(others, found, strict=True) if there is not None]

    def _translate(self, plan: Plan, numbers: Iterable[int], columns: list[Sequence[Any]]) -> None:
        for number in numbers:
            target = plan.columns[number].target
            assert target is not None
            columns[number] = self._references.local(target, columns[number])

    def _holders(self, plan: Plan, keys: Sequence[Key]) -> dict[Key, str]:
        """Who else has brought rows with these keys, as "source/stream"."""
        holdings = Holding.objects.using(self._using).filter(model=plan.label)
        others = holdings.exclude(pk=self._holdings.id_of(plan.label)).select_related("source")
        named = {each.pk: f"{each.source.name}/{each.stream}" for each in others}
        names, _ = stored_names(plan.row, keys)
        by_name = dict(zip(names, keys, strict=True))
        found: dict[Key, str] = {}
        for some in _slices(names if named else ()):
            held = HeldRow.objects.using(self._using).filter(holding__in=named, name__in=some)
            for holding, name in held.values_list("holding", "name"):
                found[by_name[name.hex]] = named[holding]
        return found

    def _equal(self, table: Table, keys: Sequence[Key], cursor: CursorWrapper) -> list[Key]:
        """Those of the keys whose row is at central as the site has it."""
        plan, last = table.plan, table.net.last
        there = [key for key in keys if last[key] is not None]
        if not there:
            return []
        rows = [last[key] for key in there]
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        given = [list(values) for values in columns]
        self._translate(plan, plan.references, columns)
        different = set(plan.statements.missing(cursor, columns))
        for number in plan.references:
            pairs = enumerate(zip(given[number], columns[number], strict=True))
            different |= {at for at, (name, pk) in pairs if name is not None and pk is None}
        return [key for at, key in enumerate(there) if at not in different]

    def _adopts(self, label: str) -> bool:
        """Whether the stream may take over central's own rows; once, if a person said so."""
        if self._adopts_all:
            return True
        mine = Holding.objects.using(self._using).filter(pk=self._holdings.id_of(label))
        self._memory.adopting.add(label)
        return bool(mine.exclude(adoption=Holding.Adoption.NONE).update(adoption=_USED))

    def finish(self) -> None:
        """The caller's transaction is about to end: what a person allowed once was used."""
        for label in self._memory.adopting:
            mine = Holding.objects.using(self._using).filter(pk=self._holdings.id_of(label))
            mine.filter(adoption=_USED).update(adoption=Holding.Adoption.NONE)

    def _not_yours(self, label: str, whose: Counter[str]) -> Refusal:
        count = sum(whose.values())
        named = ", ".join(
            f"{number} of {name}" if name else f"{number} of central's own"
            for name, number in sorted(whose.items())
        )
        words = f"{count} rows" if count > 1 else "1 row"
        adopt = f"manage.py oplog_source adopt {self._source} {label}"
        own = f"To hand central's own rows over to the site, once, run {adopt}"
        others = 'Give each site keys of its own, or name the model in SOCKSTREAM["SHARED"]'
        mend = own if set(whose) == {_NOBODY} else others
        return Refusal(
            "not-yours",
            f"The site writes {words} of {label} that it has not brought: {named}",
            mend,
        )

    # Models that every source may write.

    def share(self, tables: Mapping[str, Table], cursor: CursorWrapper) -> None:
        """Of shared models, the last writer wins, and a row goes when no source holds it."""
        for label, table in tables.items():
            if not self.is_shared(label):
                continue
            net = table.net
            for key, op in net.first.items():
                if op == INSERT:
                    net.first[key] = SAVE
            kept = self._holders(table.plan, net.gone())
            self._holdings.remove(table.plan.row, list(kept), cursor)
            for key in kept:
                del net.first[key], net.last[key]

    def kept_by_others(self, plan: Plan, keys: Sequence[Key]) -> set[Key]:
        """Those of the keys whose rows other sources still hold."""
        return set(self._holders(plan, keys)) if self.is_shared(plan.label) else set()


def _fault(run: Run, label: str, is_it: Callable[..., bool]) -> Exception:
    """The first record of the model for which `is_it(op, values)`."""
    for part in run:
        for at, (op, index, values) in enumerate(part.records):
            if part.header.layout(index).label == label and is_it(op, values):
                return fault_of(part, at)
    raise AssertionError("the records have the row")


def _points(at: int, pointed: set[Any], op: int, values: Sequence[Any]) -> bool:
    return op != DELETE and values[at] in pointed


def _slices(names: Sequence[str]) -> Iterable[list[str]]:
    left = iter(names)
    return iter(lambda: list(islice(left, _AT_ONCE)), [])
