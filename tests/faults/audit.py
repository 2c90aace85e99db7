"""Central's own account of what was applied, kept by triggers: in the same transaction or not.

Every change of an audited row and every move of the offset leaves a line in one journal. From the
site's oplog it is known what each of these transactions had to do, number by number: what is
missing, doubled or in another order shows.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connections

from sockstream.sender.oplog import store
from sockstream.wire import records
from tests.databases import Pair

JOURNAL = "audit_journal"
# The column that each change of a row raises, if there is one.
VERSIONS = {"polls.question": "", "polls.choice": "votes", "zoo.required": "count"}

_NEW = (records.INSERT, records.SAVE)

Key = tuple[str, UUID]

_SQLITE = f"""
CREATE TABLE {JOURNAL} (id INTEGER PRIMARY KEY AUTOINCREMENT, txid bigint, what text, key text,
    op text, before bigint, after bigint);
CREATE TRIGGER audit_offset AFTER UPDATE OF seq ON sockstream_receiver_offset
    WHEN OLD.seq <> NEW.seq BEGIN
    INSERT INTO {JOURNAL} (what, key, op, before, after)
    VALUES ('offset', NEW.stream, 'U', OLD.seq, NEW.seq); END;
"""
_SQLITE_TABLE = """
CREATE TRIGGER audit_{table}_{op} AFTER {word} ON {table} BEGIN
    INSERT INTO audit_journal (what, key, op, before, after)
    VALUES ('{label}', {row}.id, '{op}', {before}, {after}); END;
"""
_POSTGRESQL = f"""
CREATE TABLE {JOURNAL} (id bigserial PRIMARY KEY, txid bigint, what text, key text, op text,
    before bigint, after bigint);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    old_row jsonb := CASE TG_OP WHEN 'INSERT' THEN NULL ELSE to_jsonb(OLD) END;
    new_row jsonb := CASE TG_OP WHEN 'DELETE' THEN NULL ELSE to_jsonb(NEW) END;
BEGIN
    INSERT INTO {JOURNAL} (txid, what, key, op, before, after) VALUES (
        pg_current_xact_id()::text::bigint, TG_ARGV[0],
        coalesce(new_row, old_row) ->> TG_ARGV[1], left(TG_OP, 1),
        (old_row ->> TG_ARGV[2])::bigint, (new_row ->> TG_ARGV[2])::bigint);
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON sockstream_receiver_offset FOR EACH ROW
    WHEN (OLD.seq <> NEW.seq) EXECUTE FUNCTION audit('offset', 'stream', 'seq');
"""
_POSTGRESQL_TABLE = """
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW
    EXECUTE FUNCTION audit('{label}', 'id', '{version}');
"""


@dataclass
class Transaction:
    """What one transaction at central did: it moved the offset from `before` to `after`."""

    before: int
    after: int
    rows: list[tuple[str, UUID, str, int | None, int | None]] = field(default_factory=list)

    @property
    def last(self) -> dict[Key, int | str | None]:
        """How it left each row: its version, "there" if it has none, None if it is gone."""
        return {
            (label, key): _state(label, op, after) for label, key, op, _before, after in self.rows
        }


@dataclass
class Expected:
    """What the records of one transaction amount to; whether a snapshot is among them."""

    snapshot: bool = False
    first_ops: dict[Key, int] = field(default_factory=dict)
    last: dict[Key, int | str | None] = field(default_factory=dict)


@contextmanager
def auditing(alias: str) -> Iterator[None]:
    """Keep the journal in the database `alias`, and take it away at the end."""
    connection = connections[alias]
    _run(alias, "".join(_sqlite() if connection.vendor == "sqlite" else _postgresql()))
    try:
        yield
    finally:
        _run(alias, "".join(_removal(connection.vendor)))


def transactions(alias: str) -> list[Transaction]:
    """The journal: transactions in the order of their commits, each ending with its offset.

    Raises AssertionError if a line stands outside of a transaction that moved the offset.
    """
    found: list[Transaction] = []
    rows: list[tuple[Any, ...]] = []
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT txid, what, key, op, before, after FROM {JOURNAL} ORDER BY id")
        for line in cursor.fetchall():
            if line[1] != "offset":
                rows.append(line)
                continue
            assert {row[0] for row in rows} <= {line[0]}, "rows without an offset of their own"
            parts = [(label, UUID(key), op, old, new) for _, label, key, op, old, new in rows]
            found.append(Transaction(line[4], line[5], parts))
            rows = []
    assert not rows, f"{len(rows)} changes after the last move of the offset"
    return found


def ends_with_an_offset(alias: str) -> bool:
    """Whether what is committed now ends with a move of the offset, as every transaction has to."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT what FROM {JOURNAL} ORDER BY id DESC LIMIT 1")
        last = cursor.fetchone()
    return last is None or last[0] == "offset"


def check(pair: Pair, archive: Sequence[records.Batch] = ()) -> int:
    """Compare the journal with the site's oplog; what it no longer holds is in `archive`.

    Returns how many transactions there were. Raises AssertionError.
    """
    offset, ends = 0, _segments(pair.site, archive)
    done = transactions(pair.central)
    for transaction in done:
        assert transaction.before == offset, f"from {transaction.before}, the offset being {offset}"
        assert transaction.after > offset
        _check_rows(transaction, _expected(ends, transaction.after))
        offset = transaction.after
    assert offset == store.head(pair.site).seq
    return len(done)


def _check_rows(transaction: Transaction, expected: Expected) -> None:
    """A row changes to a newer version. Only a snapshot brings one as it is already."""
    where = f"{transaction.before + 1} to {transaction.after}"
    newer = operator.le if expected.snapshot else operator.lt
    for label, key, op, before, after in transaction.rows:
        if op == "U" and VERSIONS[label]:
            assert before is not None
            assert after is not None
            assert newer(before, after), f"{where}: {label} {key} from {before} to {after}"
    last = transaction.last
    passing = {
        key
        for key, state in expected.last.items()
        if state is None and key not in last and expected.first_ops[key] in _NEW
    }
    wanted = {key: state for key, state in expected.last.items() if key not in passing}
    assert last == wanted, where


def _expected(ends: Iterator[records.DecodedSegment], after: int) -> Expected:
    """What the next segments amount to, up to `after`, where a group has to end."""
    expected = Expected()
    for segment in ends:
        for op, index, values in segment.records:
            _expect(expected, op, segment.layouts[index], values)
        if segment.last_seq >= after:
            break
    assert segment.last_seq == after, f"{after} is not the end of a segment"
    assert segment.ends_group, f"{after} is inside of a group"
    return expected


def _expect(expected: Expected, op: int, layout: records.Layout, values: list[Any]) -> None:
    expected.snapshot |= op >= records.BEGIN
    if layout.label not in VERSIONS or op >= records.BEGIN:
        return
    key = layout.label, UUID(bytes=values[0])
    version = VERSIONS[layout.label]
    after = values[1 + layout.others.index(version)] if version and op != records.DELETE else None
    expected.first_ops.setdefault(key, op)
    expected.last[key] = _state(layout.label, "D" if op == records.DELETE else "U", after)


def _state(label: str, op: str, after: int | None) -> int | str | None:
    if op == "D":
        return None
    return after if VERSIONS[label] else "there"


def _segments(site: str, archive: Sequence[records.Batch]) -> Iterator[records.DecodedSegment]:
    for batch in archive:
        yield from records.segments(batch)
    seq = archive[-1].last_seq + 1 if archive else 1
    while batches := list(store.read(seq, site, 10)):
        for batch in batches:
            yield from records.segments(batch)
        seq = batches[-1].last_seq + 1


def _sqlite() -> Iterator[str]:
    yield _SQLITE
    for label, version in VERSIONS.items():
        old, new = (f"{row}.{version}" if version else "NULL" for row in ("OLD", "NEW"))
        named = {"table": label.replace(".", "_"), "label": label}
        for op, word, row, before, after in (
            ("I", "INSERT", "NEW", "NULL", new),
            ("U", "UPDATE", "NEW", old, new),
            ("D", "DELETE", "OLD", old, "NULL"),
        ):
            yield _SQLITE_TABLE.format(
                **named, op=op, word=word, row=row, before=before, after=after
            )


def _postgresql() -> Iterator[str]:
    yield _POSTGRESQL
    for label, version in VERSIONS.items():
        table = label.replace(".", "_")
        yield _POSTGRESQL_TABLE.format(table=table, label=label, version=version or "-")


def _removal(vendor: str) -> Iterator[str]:
    if vendor == "postgresql":
        yield "DROP FUNCTION audit CASCADE;"
    else:
        yield "DROP TRIGGER audit_offset;"
        for label in VERSIONS:
            for op in "IUD":
                yield f"DROP TRIGGER audit_{label.replace('.', '_')}_{op};"
    yield f"DROP TABLE {JOURNAL};"


def _run(alias: str, script: str) -> None:
    connection = connections[alias]
    connection.ensure_connection()
    raw: Any = connection.connection
    if connection.vendor == "sqlite":
        raw.executescript(script)
    else:
        raw.execute(script)
