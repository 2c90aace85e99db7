"""PostgreSQL: puts constraints off, draws numbers from sequences, takes a batch as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.backends.utils import CursorWrapper

from sockstream.databases import origin

from .base import Dialect
from .upserts.postgresql import PostgreSQLStatements

_ADD = (
    "INSERT INTO {0} (holding, generation, name, key) "
    "SELECT %s, %s, n, k FROM unnest(%s::uuid[], %s::bytea[]) u (n, k)"
)
_OLDER = (
    " ON CONFLICT (holding, name) DO UPDATE SET generation = excluded.generation "
    "WHERE {0}.generation <> excluded.generation"
)
# One array, no join: of a join by two columns PostgreSQL may compare each row with each.
_HELD = "FROM {0} WHERE holding = %s AND name = ANY(%s::uuid[])"
_REMOVE = "DELETE FROM {0} WHERE holding = %s AND name = ANY(%s::uuid[])"
_EFFECTS = (
    "SELECT 1 FROM pg_trigger WHERE NOT tgisinternal "
    "AND NOT starts_with(ltrim(tgname, '!'), %s) AND tgrelid = %s::regclass "
    "UNION ALL SELECT 1 FROM pg_rewrite WHERE ev_class = %s::regclass "
    "UNION ALL SELECT 1 FROM pg_constraint "
    "WHERE contype = 'f' AND confrelid = %s::regclass AND confdeltype IN ('c', 'n', 'd')"
)


class PostgreSQL(Dialect):
    """PostgreSQL, with psycopg 3 or psycopg 2."""

    vendor = "postgresql"
    statements = PostgreSQLStatements
    effects_sql = _EFFECTS
    name_type = "uuid"
    inserts_new = True

    def defer_constraints(self, cursor: CursorWrapper) -> None:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")

    def require_constraints(self, cursor: CursorWrapper) -> None:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def pass_capture_by(self, cursor: CursorWrapper) -> None:
        cursor.execute("SELECT set_config(%s, 'on', true)", [origin.SETTING])

    def capture_again(self, cursor: CursorWrapper) -> None:
        cursor.execute("SELECT set_config(%s, '', true)", [origin.SETTING])

    def wait_for_locks(self, cursor: CursorWrapper, milliseconds: float) -> None:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{milliseconds:.0f}ms"])

    def table_argument(self, cursor: CursorWrapper, table: str) -> str:
        return str(cursor.db.ops.quote_name(table))

    def next_numbers(self, cursor: CursorWrapper, table: str, column: str, count: int) -> list[int]:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, %s)) FROM generate_series(1, %s)",
            [cursor.db.ops.quote_name(table), column, count],
        )
        return [number for (number,) in cursor.fetchall()]

    def add_held(
        self,
        cursor: CursorWrapper,
        table: str,
        common: tuple[int, int],
        names: Sequence[str],
        keys: Sequence[bytes | None],
        *,
        all_new: bool,
    ) -> None:
        sql = _ADD if all_new else _ADD + _OLDER
        cursor.execute(sql.format(table), [*common, _array(names), _octets(keys)])

    def count_held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> int:
        cursor.execute(f"SELECT count(*) {_HELD.format(table)}", [holding, _array(names)])
        return int(cursor.fetchone()[0])

    def held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> set[str]:
        name = "encode(uuid_send(name), 'hex')"
        cursor.execute(f"SELECT {name} {_HELD.format(table)}", [holding, _array(names)])
        return {name for (name,) in cursor.fetchall()}

    def remove_held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> None:
        cursor.execute(_REMOVE.format(table), [holding, _array(names)])


def _array(names: Iterable[str]) -> str:
    return f"{{{','.join(names)}}}"


def _octets(values: Iterable[bytes | None]) -> str:
    texts = ("NULL" if value is None else f'"\\\\x{value.hex()}"' for value in values)
    return f"{{{','.join(texts)}}}"
