"""What the functions of PostgreSQL do, and the settings that they do it under.

All rows of a statement are in the table before the first of its triggers fires, so another trigger
may have changed or deleted a row before ours gets to it, and that was captured then. So a row is
captured only if it is still there as it was written: the last that is captured of a row is how the
row is. It is looked for by its place (ctid), since a look by a key would lock a page of the index
against the inserts of others where transactions are serializable.
"""

from __future__ import annotations

from collections.abc import Iterator

from sockstream.rows import Column, Kind
from sockstream.sender.capture.layouts import Plan, local_column
from sockstream.sender.capture.marks import EMPTIED

from .base import Dialect

CHANNEL = "sockstream_capture"
"""Where a NOTIFY tells of every statement that captured something; its payload is empty."""

SLEEPS = 0x736F636D
"""The advisory lock that a sender shares with others while it sleeps: see oplog/wake.py."""

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
    put = _put(dialect)
    deleted = _record(dialect, "'D'", plan, dialect.key_data(plan, "OLD"))
    saved = _record(dialect, "own.op", plan, dialect.row_data(plan, "NEW"))
    pass_by = f"\n  IF NOT ({dialect.only_if}) THEN\n    RETURN NULL;\n  END IF;"
    return f"""
<<own>>
DECLARE
  op text := 'I';
BEGIN{pass_by if dialect.only_if else ""}
  IF TG_OP = 'DELETE' THEN
    {put} VALUES ({deleted});
    RETURN NULL;
  ELSIF TG_OP = 'TRUNCATE' THEN{_truncate(dialect, plan, partitioned=partitioned)}
    RETURN NULL;
  ELSIF TG_OP = 'UPDATE' THEN
    IF ROW({old})::record *<> ROW({new})::record THEN
      {put} VALUES ({deleted});
    ELSE
      op := 'U';
    END IF;
  END IF;
  {put} SELECT {saved}
    WHERE row_security_active({_literal(table)}::regclass)
      OR EXISTS (SELECT FROM {source} r WHERE {is_it});
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
        RAISE 'sockstream cannot capture TRUNCATE of %: this transaction may not see every row',
          TG_RELID::regclass
          USING HINT = 'Truncate it in READ COMMITTED, as a role that no policy concerns.';
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
