"""What the functions of PostgreSQL do, and the settings that they do it under.

All rows of a statement are in the table before the first of its triggers fires, so another trigger
may have changed or deleted a row before ours gets to it, and that was captured then. So a row is
captured only if it is still there as it was written: the last that is captured of a row is how the
row is. It is looked for by its place (ctid), since a look by a key would lock a page of the index
against the inserts of others where transactions are serializable.

A change of the schema that Django did not make leaves the function behind. Then the write is not
refused because of us: a snapshot of the model is due. What may fail so is done in a block that
writes nothing, since each of those that write costs a transaction id.
"""

from __future__ import annotations

from collections.abc import Iterator

from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan, local_column
from sockstream.sender.capture.marks import EMPTIED
from sockstream.sender.models import Due

from .base import Dialect

CHANNEL = "sockstream_capture"
"""Where a NOTIFY tells of every statement that captured something; its payload is empty."""

SLEEPS = 0x736F636D
"""The advisory lock that a sender shares with others while it sleeps: see oplog/wake.py."""

STALE = "writes after a change of the schema"
"""The reason of a snapshot that is due."""

SEARCH_PATH = "search_path=pg_catalog, pg_temp"
# A reference that a policy hides is looked up once more by the sequencer. With `off`, as in a
# restore, PostgreSQL would refuse the application's write.
_ROW_SECURITY = "row_security=on"
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
# A commit that notifies takes a lock of the whole server, so it does only if somebody sleeps.
NOTIFY = f"""
BEGIN
  IF NOT (pg_try_advisory_lock({SLEEPS}) AND pg_advisory_unlock({SLEEPS})) THEN
    PERFORM pg_notify('{CHANNEL}', '');
  END IF;
  RETURN NULL;
END
"""


def body(dialect: Dialect, plan: Plan, *, partitioned: bool | None) -> str:
    """The function of a table: captures what its trigger was fired for.

    `partitioned`: the table's rows are in partitions; False if others inherit from it, None if it
    is alone.
    """
    keys = [dialect.quote(column.column) for column in plan.row.key]
    old, new = (", ".join(f"{row}.{key}" for key in keys) for row in ("OLD", "NEW"))
    table = dialect.table(plan.row.table)
    source, is_it = f"ONLY {table}", "r.ctid = NEW.ctid"
    if partitioned is not None:
        # The primary key tells which partition it is.
        key = (column.removeprefix("r.") for column in dialect.primary_key(plan))
        same = " AND ".join(f"r.{column} = NEW.{column}" for column in key)
        source, is_it = table, f"{is_it} AND r.tableoid = TG_RELID AND {same}"
    gone = _record(dialect, "'D'", plan, "own.gone")
    saved = _record(dialect, "own.op", plan, "own.saved")
    pass_by = f"\n  IF NOT ({dialect.only_if}) THEN\n    RETURN NULL;\n  END IF;"
    put, due = _put(dialect), _due(dialect, plan)
    return f"""
<<own>>
DECLARE
  op text := 'I';
  gone text;
  saved text;
BEGIN{pass_by if dialect.only_if else ""}
  IF TG_OP = 'TRUNCATE' THEN
    BEGIN{_truncate(dialect, plan, partitioned=partitioned)}
    EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
      {due};
    END;
    RETURN NULL;
  END IF;
  BEGIN
    IF TG_OP = 'DELETE' THEN
      own.gone := {dialect.key_data(plan, "OLD")};
    ELSE
      IF TG_OP = 'UPDATE' THEN
        IF ROW({old})::record *<> ROW({new})::record THEN
          own.gone := {dialect.key_data(plan, "OLD")};
        ELSE
          own.op := 'U';
        END IF;
      END IF;
      SELECT {dialect.row_data(plan, "NEW")} INTO own.saved
        WHERE row_security_active({_literal(table)}::regclass)
          OR EXISTS (SELECT FROM {source} r WHERE {is_it});
    END IF;
  EXCEPTION WHEN syntax_error_or_access_rule_violation THEN
    {due};
    RETURN NULL;
  END;
  IF own.gone IS NOT NULL THEN
    {put} VALUES ({gone});
  END IF;
  IF own.saved IS NOT NULL THEN
    {put} VALUES ({saved});
  END IF;
  RETURN NULL;
END
"""


def _truncate(dialect: Dialect, plan: Plan, *, partitioned: bool | None) -> str:
    """Says that the table was emptied, since TRUNCATE removes what its transaction cannot see.

    What is there by now, other triggers of the same TRUNCATE have written. Where it empties the
    capture table too, as `flush` does, the stream begins anew, and nothing is left to say.
    """
    begin, end = (_record(dialect, f"'{op}'", plan, "''") for op in EMPTIED)
    emptied = f"""
    IF NOT EXISTS ({_is_emptied(dialect.capture_table)}) THEN
      {_put(dialect)} VALUES ({begin}), ({end});
      {dialect.existing(plan, "I")};
    END IF;"""
    if partitioned is None:
        return emptied
    if not partitioned:
        return _truncate_one(dialect, plan, "")
    # Then a mark follows, and nobody else writes meanwhile.
    whole = f"""
        AND NOT EXISTS ({_is_emptied(dialect.table(plan.row.table))})"""
    return f"""
    IF TG_WHEN = 'BEFORE' THEN{_truncate_one(dialect, plan, whole)}
      RETURN NULL;
    END IF;{emptied}"""


def _truncate_one(dialect: Dialect, plan: Plan, unless: str) -> str:
    """Deletes the rows of one table of several, if this transaction is sure to see them all."""
    deleted = _record(dialect, "'D'", plan, dialect.key_data(plan, "r"))
    each = _literal(f"{_put(dialect)} SELECT {deleted} FROM ONLY ")
    return f"""
      IF (row_security_active(TG_RELID)
          OR current_setting('transaction_isolation') <> 'read committed'){unless}
      THEN
        {_due(dialect, plan)};
        RETURN NULL;
      END IF;
      EXECUTE {each} || TG_RELID::regclass || ' r';"""


def _is_emptied(table: str) -> str:
    """The query that finds the lock by which this transaction truncates a table."""
    return (
        "SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND granted "
        f"AND relation = {_literal(table)}::regclass AND mode = 'AccessExclusiveLock'"
    )


def _put(dialect: Dialect) -> str:
    return f"INSERT INTO {dialect.capture_table} (txid, op, layout, data)"


def _due(dialect: Dialect, plan: Plan) -> str:
    """A snapshot is due: the function does not know the table as it is now."""
    values = f"{_literal(plan.row.label)}, {_literal(STALE)}"
    return f"INSERT INTO {dialect.table(Due._meta.db_table)} (model, reason) VALUES ({values})"


def _record(dialect: Dialect, op: str, plan: Plan, data: str) -> str:
    return f"{dialect.transaction_name}, {op}, {plan.number}, {data}"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def settings(plan: Plan) -> list[str]:
    """What the function sets while it runs, so that the session's settings do not matter."""
    needed = {
        setting
        for column in plan.row.columns
        for kind in _texts_of(column)
        for setting in _STYLES.get(kind, ())
    }
    return [SEARCH_PATH, _ROW_SECURITY, *sorted(needed)]


def _texts_of(column: Column) -> Iterator[Kind]:
    if column.kind is Kind.REFERENCE:
        yield local_column(column).kind
    elif column.kind is Kind.ARRAY:
        yield innermost(column).kind
    elif column.kind in {Kind.RANGE, Kind.RAW}:
        yield column.kind


def innermost(column: Column) -> Column:
    """What an array of arrays holds in the end."""
    while column.base is not None:
        column = column.base
    return column
