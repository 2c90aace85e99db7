"""PostgreSQL: one function for each table, called by a trigger for each operation.

A function is SECURITY DEFINER, so that whoever may write to a table needs no rights on ours; its
search_path is pinned, and nobody else may make a trigger of it. The triggers are ENABLE ALWAYS,
since session_replication_role = replica and logical replication would pass them by. For the same
reason they are triggers of rows: a subscription fires none of statements. Their names sort before
all others: a row is captured before cascades, and mostly before what other triggers make of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sockstream.databases import origin
from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan
from sockstream.sender.capture.tables import Tables, model_tables
from sockstream.sender.models import Capture

from . import plpgsql
from .base import PREFIX, Dialect, Name, Thing, shortened

_FIRST = "!"
_NAME_BYTES = 63
# The bits of pg_trigger.tgtype.
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
_EVENTS = {
    "insert": (_ROW | _INSERT, "AFTER INSERT ON {} FOR EACH ROW"),
    "update": (_ROW | _UPDATE, "AFTER UPDATE ON {} FOR EACH ROW"),
    "delete": (_ROW | _DELETE, "AFTER DELETE ON {} FOR EACH ROW"),
    "truncate": (_TRUNCATE, "AFTER TRUNCATE ON {} FOR EACH STATEMENT"),
}
# One table of several that hold the rows of a model: those in the others stay.
_OF_ONE = {"truncate": (_BEFORE | _TRUNCATE, "BEFORE TRUNCATE ON {} FOR EACH STATEMENT")}
_ON_NOTIFY = (_INSERT, "AFTER INSERT ON {} FOR EACH STATEMENT")
# PostgreSQL alters no table of which foreign keys are still to be checked.
_NO_PENDING = "SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED"
_AS_TEXTS = {Kind.DECIMAL, Kind.JSON, Kind.RANGE, Kind.RAW, Kind.HSTORE}


class PostgreSQL(Dialect):
    """A captured row is the text of json_build_array."""

    vendor = "postgresql"
    own_write = f"current_setting('{origin.SETTING}', true) IS DISTINCT FROM 'on'"
    skips_locked = True
    transaction_name = "pg_current_xact_id()::text::bigint"

    def look(self) -> Tables:
        names = model_tables()
        rows = self.execute(
            "SELECT t.name, format('%%I.%%I', n.nspname, c.relname), n.nspname, a.attname "
            "FROM unnest(%s::text[], %s::text[]) t(name, quoted) "
            "JOIN pg_class c ON c.oid = to_regclass(t.quoted) "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped",
            [names, [self.quote(name) for name in names]],
        )
        self._qualified: dict[str, str] = {name: qualified for name, qualified, _, _ in rows}
        self._schemas: dict[str, str] = {name: schema for name, _, schema, _ in rows}
        self._families = self._look_at_families(names)
        return Tables((name, column) for name, _, _, column in rows)

    def _look_at_families(self, names: Sequence[str]) -> dict[str, _Family]:
        """The tables that have partitions, or that others inherit from."""
        rows = self.execute(
            "WITH RECURSIVE family AS ("
            "SELECT t.name, c.oid AS root, c.relkind AS kind, c.oid AS member "
            "FROM unnest(%s::text[], %s::text[]) t(name, quoted) JOIN pg_class c "
            "ON c.oid = to_regclass(t.quoted) AND (c.relkind = 'p' OR c.relhassubclass) "
            "UNION ALL SELECT f.name, f.root, f.kind, i.inhrelid "
            "FROM family f JOIN pg_inherits i ON i.inhparent = f.member) "
            "SELECT f.name, f.kind = 'p', array_agg(format('%%I.%%I', n.nspname, m.relname)) "
            "FILTER (WHERE m.relkind = 'r' AND m.oid <> f.root), EXISTS (SELECT FROM pg_trigger t "
            "WHERE t.tgrelid = f.root AND t.tgname = %s) "
            "FROM family f JOIN pg_class m ON m.oid = f.member "
            "JOIN pg_namespace n ON n.oid = m.relnamespace GROUP BY f.name, f.root, f.kind",
            [names, [self.quote(name) for name in names], _trigger_name("insert")],
        )
        families = (
            (name, _Family(partitioned, parts or (), captured))
            for name, partitioned, parts, captured in rows
        )
        return {name: family for name, family in families if family.partitioned or family.parts}

    def table(self, name: str) -> str:
        return self._qualified[name]

    @property
    def _schema(self) -> str:
        """The schema of the capture table, where our functions are too."""
        return self._schemas[Capture._meta.db_table]

    def wanted(self, plans: Sequence[Plan]) -> dict[Name, Thing]:
        things = self.shared()
        for plan in plans:
            things |= self.of_table(plan)
        return things

    def shared(self) -> dict[Name, Thing]:
        """What belongs to no table."""
        function = f"{PREFIX}notify"
        things = self._function(function, plpgsql.NOTIFY, [plpgsql.SEARCH_PATH])
        return things | self._trigger(self.capture_table, "notify", function, *_ON_NOTIFY)

    def of_table(self, plan: Plan) -> dict[Name, Thing]:
        """What captures one table."""
        function = _function_name(plan.row.table)
        family = self._families.get(plan.row.table)
        partitioned = None if family is None else family.partitioned
        body = plpgsql.body(self, plan, partitioned=partitioned)
        things = self._function(function, body, plpgsql.settings(plan))
        return things | self._on_table(plan, function, family)

    def _on_table(self, plan: Plan, function: str, family: _Family | None) -> dict[Name, Thing]:
        """The triggers of a table, and those of its family that PostgreSQL does not make itself.

        What joined the family since the installation may have brought rows along.
        """
        events = _EVENTS if family is None or family.partitioned else _EVENTS | _OF_ONE
        things: dict[Name, Thing] = {}
        for event, (bits, when) in events.items():
            things |= self._trigger(self.table(plan.row.table), event, function, bits, when)
        if family is None:
            return things
        for part in family.parts:
            for event, (bits, when) in (_OF_ONE if family.partitioned else events).items():
                made = self._trigger(part, event, function, bits, when)
                if family.captured and event in _OF_ONE:
                    bring = self.existing(plan, "S", f"ONLY {part}")
                    made = {n: Thing(t.text, (*t.create, bring)) for n, t in made.items()}
                things |= made
        return things

    def found(self) -> dict[Name, str]:
        pattern = PREFIX.replace("_", r"\_") + "%"
        functions = self.execute(
            "SELECT proname, prosrc, prosecdef, coalesce(proconfig, '{}') FROM pg_proc "
            "WHERE pronamespace = %s::regnamespace AND proname LIKE %s",
            [self.quote(self._schema), pattern],
        )
        # What PostgreSQL made of a trigger on partitions counts as a part of it.
        triggers = self.execute(
            "SELECT format('%%I.%%I', n.nspname, c.relname), t.tgname, p.proname, "
            "t.tgtype, t.tgenabled, t.tgqual IS NULL FROM pg_trigger t "
            "JOIN pg_class c ON c.oid = CASE t.tgparentid "
            "  WHEN 0 THEN t.tgrelid ELSE pg_partition_root(t.tgrelid) END "
            "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE NOT t.tgisinternal AND p.pronamespace = %s::regnamespace AND p.proname LIKE %s",
            [self.quote(self._schema), pattern],
        )
        found = {
            Name("function", "", name): _function_text(body, definer, config)
            for name, body, definer, config in functions
        }
        texts: dict[Name, set[str]] = {}
        for table, name, function, bits, enabled, always in triggers:
            text = _trigger_text(function, bits, _char(enabled), unconditional=always)
            texts.setdefault(Name("trigger", table, name), set()).add(text)
        return found | {name: ", ".join(sorted(each)) for name, each in texts.items()}

    def drop(self, name: Name) -> str:
        if name.kind == "trigger":
            return f"DROP TRIGGER IF EXISTS {self.quote(name.name)} ON {name.table}"
        return f"DROP FUNCTION IF EXISTS {self._function_sql(name.name)}() CASCADE"

    def copy(self, plan: Plan, condition: str) -> str:
        source = f"SELECT * FROM {self.table(plan.row.table)} r WHERE {condition}"
        locked = f"{source} FOR SHARE SKIP LOCKED"
        put = self.existing(plan, "S", "part").replace("%", "%%")
        keys = ", ".join(self.primary_key(plan))
        return f"WITH part AS MATERIALIZED ({locked}), put AS ({put}) SELECT {keys} FROM part r"

    def value(self, column: Column, sql: str) -> str:  # noqa: PLR0911
        match column.kind:
            case Kind.FLOAT:
                return f"encode(float8send({sql}::float8),'hex')"
            case Kind.BINARY:
                return f"encode({sql},'hex')"
            case Kind.DURATION:
                return f"encode(interval_send({sql}),'hex')"
            case Kind.INSTANT:
                return f"timezone('UTC',{sql})"
            case Kind.DATETIME:
                zone = self.connection.timezone_name.replace("'", "''")
                return f"timezone('{zone}',{sql})"
            case Kind.DECIMAL | Kind.JSON | Kind.RANGE | Kind.RAW:
                return f"{sql}::text"
            case Kind.HSTORE:
                return f"{sql}::json"
            case Kind.ARRAY if (
                column.base is not None and plpgsql.innermost(column).kind in _AS_TEXTS
            ):
                return f"{sql}::text[]"
        return sql

    def array(self, items: Iterable[str]) -> str:
        return f"json_build_array({','.join(items)})"

    def as_text(self, array: str) -> str:
        return f"{array}::text"

    def _function_sql(self, name: str) -> str:
        return f"{self.quote(self._schema)}.{self.quote(name)}"

    def _function(self, name: str, body: str, settings: list[str]) -> dict[Name, Thing]:
        sql = self._function_sql(name)
        sets = " ".join("SET {} = {}".format(*setting.split("=", 1)) for setting in settings)
        tag = next(tag for tag in _tags() if tag not in body)
        create = (
            f"CREATE OR REPLACE FUNCTION {sql}() RETURNS trigger LANGUAGE plpgsql "
            f"SECURITY DEFINER {sets} AS {tag}{body}{tag}"
        )
        revoke = f"REVOKE ALL ON FUNCTION {sql}() FROM PUBLIC"
        thing = Thing(_function_text(body, True, settings), (create, revoke))
        return {Name("function", "", name): thing}

    def _trigger(
        self, at: str, event: str, function: str, bits: int, when: str
    ) -> dict[Name, Thing]:
        name = _trigger_name(event)
        quoted = self.quote(name)
        create = (
            f"CREATE OR REPLACE TRIGGER {quoted} {when.format(at)} "
            f"EXECUTE FUNCTION {self._function_sql(function)}()"
        )
        enable = f"ALTER TABLE {at} ENABLE ALWAYS TRIGGER {quoted}"
        text = _trigger_text(function, bits, "A", unconditional=True)
        return {Name("trigger", at, name): Thing(text, (create, *_NO_PENDING, enable))}


@dataclass(frozen=True, slots=True)
class _Family:
    """The tables `parts` that hold rows of a table: its partitions, or those that inherit from it.

    `captured`: the table itself has its triggers.
    """

    partitioned: bool
    parts: Sequence[str]
    captured: bool


def _trigger_name(event: str) -> str:
    return f"{_FIRST}{PREFIX}{event}"


def _function_name(table: str) -> str:
    digest = blake2b(table.encode(), digest_size=4).hexdigest()
    plain = "".join(char if char.isalnum() else "_" for char in table)
    return f"{shortened(PREFIX + plain, _NAME_BYTES - len(digest) - 1)}_{digest}"


def _function_text(body: str, definer: bool, settings: Iterable[str]) -> str:
    return f"{body}{definer} {sorted(setting.lower() for setting in settings)}"


def _trigger_text(function: str, bits: int, enabled: str, *, unconditional: bool) -> str:
    return f"{function} {bits} {enabled} {unconditional}"


def _char(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _tags() -> Iterator[str]:
    yield "$sockstream$"
    number = 0
    while True:
        number += 1
        yield f"$sockstream{number}$"
