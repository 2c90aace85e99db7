"""PostgreSQL: one function for each table, called by a trigger for each operation.

A function is SECURITY DEFINER, so that whoever may write to a table needs no rights on ours; its
search_path is pinned, and nobody else may make a trigger of it. The triggers' names sort before
all others: a row is captured before other triggers and cascades act on it. They are ENABLE ALWAYS,
since session_replication_role = replica and logical replication would pass them by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from sockstream.databases import origin
from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan, local_column
from sockstream.sender.capture.tables import Tables, model_tables
from sockstream.sender.models import Capture

from .base import PREFIX, Dialect, Name, Thing, shortened

CHANNEL = "sockstream_capture"
"""Where a NOTIFY tells of every statement that captured something; its payload is empty."""

_FIRST = "!"
# Of libpq, PQTRANS_IDLE.
_IDLE = 0
_NAME_BYTES = 63
# The bits of pg_trigger.tgtype.
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
_EVENTS = {
    "insert": (_ROW | _INSERT, "AFTER INSERT ON {} FOR EACH ROW"),
    "update": (_ROW | _UPDATE, "AFTER UPDATE ON {} FOR EACH ROW"),
    "delete": (_ROW | _DELETE, "AFTER DELETE ON {} FOR EACH ROW"),
    "truncate": (_BEFORE | _TRUNCATE, "BEFORE TRUNCATE ON {} FOR EACH STATEMENT"),
}
_ON_NOTIFY = (_INSERT, "AFTER INSERT ON {} FOR EACH STATEMENT")
_NOTIFY = f"\nBEGIN\n  PERFORM pg_notify('{CHANNEL}', '');\n  RETURN NULL;\nEND\n"
_SEARCH_PATH = "search_path=pg_catalog, pg_temp"
_STYLES = {
    Kind.RANGE: ("DateStyle=ISO", "TimeZone=UTC"),
    Kind.RAW: (
        "DateStyle=ISO",
        "IntervalStyle=postgres",
        "TimeZone=UTC",
        "bytea_output=hex",
        "extra_float_digits=1",
    ),
    Kind.FLOAT: ("extra_float_digits=1",),
    Kind.BINARY: ("bytea_output=hex",),
    Kind.DURATION: ("IntervalStyle=postgres",),
}
"""The settings that the text of a kind depends on, where it is written as a text."""
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
        return Tables(self.connection, ((name, column) for name, _, _, column in rows))

    def table(self, name: str) -> str:
        return self._qualified[name]

    @property
    def _schema(self) -> str:
        """The schema of the capture table, where our functions are too."""
        return self._schemas[Capture._meta.db_table]

    def shared(self, plans: Sequence[Plan]) -> dict[Name, Thing]:
        function = f"{PREFIX}notify"
        things = self._function(function, _NOTIFY, [_SEARCH_PATH])
        return things | self._trigger(Capture._meta.db_table, "notify", function, *_ON_NOTIFY)

    def of_table(self, plan: Plan) -> dict[Name, Thing]:
        function = _function_name(plan.row.table)
        things = self._function(function, self._body(plan), _settings(plan))
        for event, (bits, when) in _EVENTS.items():
            things |= self._trigger(plan.row.table, event, function, bits, when)
        return things

    def found(self) -> dict[Name, str]:
        pattern = PREFIX.replace("_", r"\_") + "%"
        functions = self.execute(
            "SELECT proname, prosrc, prosecdef, coalesce(proconfig, '{}') FROM pg_proc "
            "WHERE pronamespace = %s::regnamespace AND proname LIKE %s",
            [self.quote(self._schema), pattern],
        )
        triggers = self.execute(
            "SELECT format('%%I.%%I', n.nspname, c.relname), t.tgname, p.proname, "
            "t.tgtype, t.tgenabled, t.tgqual IS NULL "
            "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE NOT t.tgisinternal AND p.pronamespace = %s::regnamespace AND p.proname LIKE %s",
            [self.quote(self._schema), pattern],
        )
        found = {
            Name("function", "", name): _function_text(body, definer, config)
            for name, body, definer, config in functions
        }
        for table, name, function, bits, enabled, always in triggers:
            text = _trigger_text(function, bits, _char(enabled), unconditional=always)
            found[Name("trigger", table, name)] = text
        return found

    def drop(self, name: Name) -> str:
        if name.kind == "trigger":
            return f"DROP TRIGGER IF EXISTS {self.quote(name.name)} ON {name.table}"
        return f"DROP FUNCTION IF EXISTS {self._function_sql(name.name)}() CASCADE"

    def in_transaction_by_hand(self) -> bool:
        raw = self.connection.connection
        return self.connection.get_autocommit() and raw.info.transaction_status != _IDLE

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
            case Kind.ARRAY if column.base is not None and _innermost(column).kind in _AS_TEXTS:
                return f"{sql}::text[]"
        return sql

    def array(self, items: Iterable[str]) -> str:
        return f"json_build_array({','.join(items)})"

    def as_text(self, array: str) -> str:
        return f"{array}::text"

    def _body(self, plan: Plan) -> str:
        keys = [self.quote(column.column) for column in plan.row.key]
        old, new = (", ".join(f"{row}.{key}" for key in keys) for row in ("OLD", "NEW"))
        put = f"INSERT INTO {self.capture_table} (txid, op, layout, data)"
        pass_by = f"\n  IF NOT ({self.only_if}) THEN\n    RETURN NULL;\n  END IF;"
        return f"""
BEGIN{pass_by if self.only_if else ""}
  IF TG_OP = 'INSERT' THEN
    {put} VALUES ({self._record("I", plan, self.row_data(plan, "NEW"))});
  ELSIF TG_OP = 'UPDATE' THEN
    IF ROW({old})::record *<> ROW({new})::record THEN
      {put} VALUES ({self._record("D", plan, self.key_data(plan, "OLD"))});
      {put} VALUES ({self._record("I", plan, self.row_data(plan, "NEW"))});
    ELSE
      {put} VALUES ({self._record("U", plan, self.row_data(plan, "NEW"))});
    END IF;
  ELSIF TG_OP = 'DELETE' THEN
    {put} VALUES ({self._record("D", plan, self.key_data(plan, "OLD"))});
  ELSE
    {put} SELECT {self._record("D", plan, self.key_data(plan, "r"))}
      FROM {self.table(plan.row.table)} r;
  END IF;
  RETURN NULL;
END
"""

    def _record(self, op: str, plan: Plan, data: str) -> str:
        return f"{self.transaction_name}, '{op}', {plan.number}, {data}"

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
        self, table: str, event: str, function: str, bits: int, when: str
    ) -> dict[Name, Thing]:
        name, at = f"{_FIRST}{PREFIX}{event}", self.table(table)
        quoted = self.quote(name)
        create = (
            f"CREATE OR REPLACE TRIGGER {quoted} {when.format(at)} "
            f"EXECUTE FUNCTION {self._function_sql(function)}()"
        )
        enable = f"ALTER TABLE {at} ENABLE ALWAYS TRIGGER {quoted}"
        text = _trigger_text(function, bits, "A", unconditional=True)
        return {Name("trigger", at, name): Thing(text, (create, enable))}


def _settings(plan: Plan) -> list[str]:
    """What the function sets while it runs, so that the session's settings do not matter."""
    needed = {
        setting
        for column in plan.row.columns
        for kind in _texts_of(column)
        for setting in _STYLES.get(kind, ())
    }
    return [_SEARCH_PATH, *sorted(needed)]


def _texts_of(column: Column) -> Iterator[Kind]:
    if column.kind is Kind.REFERENCE:
        yield local_column(column).kind
    elif column.kind is Kind.ARRAY:
        yield _innermost(column).kind
    elif column.kind in {Kind.RANGE, Kind.RAW}:
        yield column.kind


def _innermost(column: Column) -> Column:
    while column.base is not None:
        column = column.base
    return column


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
