"""What central asks of a dialect. Where databases agree, the answer stands here."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import Model, QuerySet

from .foreign_keys import Known
from .upserts import Statements

_NAMES_AT_ONCE = 500

M = TypeVar("M", bound=Model)

_OURS = "sockstream_"


class Dialect:
    """How central uses one kind of database. It holds no connection and no state."""

    vendor: ClassVar[str]
    """Django's name for the database."""
    statements: ClassVar[type[Statements]]
    """Makes the statements of a table (see `upserts`)."""
    add_held_sql: ClassVar[str]
    """Notes one held row, or gives one that is there the new generation."""
    effects_sql: ClassVar[str]
    """Finds triggers and rules of central's own on a table, and foreign keys by which the database
    changes other rows when one of the table is deleted. Its arguments: what the names of our own
    triggers begin with, at a central that is a site as well, and three times the table."""

    name_type = "char(32)"
    """The column type of `models.Name`: 16 bytes in hexadecimal, or a type that takes that."""
    one_writer = False
    """Whether one transaction writes at a time, so that a second one would only wait."""
    locks_rows = True
    """Whether a SELECT can lock what it reads. If not, a transaction has to begin with a write."""
    puts_off_constraints = True
    """Whether the database can look at foreign keys when the transaction ends. If not, it is told
    not to look (`defer_constraints`), and applying/tables/foreign_keys.py does."""
    inserts_new = False
    """Whether an insert of rows that are taken to be new saves work (`Statements.insert_new`)."""

    def prepare(self, cursor: CursorWrapper) -> None:
        """A connection is used for applying for the first time."""

    @contextmanager
    def strict(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """For a session of the application: a value that does not fit is refused meanwhile."""
        yield

    def most_bytes(self, cursor: CursorWrapper) -> int | None:
        """The largest statement that the database accepts, in bytes; None if there is no limit."""
        return None

    def defer_constraints(self, cursor: CursorWrapper) -> None:
        """In a transaction: look at what can be put off when it ends."""

    def require_constraints(self, cursor: CursorWrapper) -> None:
        """In a transaction: look at what was put off now. Raises IntegrityError.

        Nothing is put off any more until `defer_constraints` is called again.
        """

    keeps_readers = True
    """Whether a connection that only reads may stay open: see SQLite."""

    def look_again(self, connection: BaseDatabaseWrapper) -> None:
        """The transaction has ended in one way or the other: the session is the application's."""

    @contextmanager
    def looking(self, cursor: CursorWrapper) -> Iterator[None]:
        """In a transaction where foreign keys are not looked at: each statement looks meanwhile."""
        yield

    def foreign_keys(self, cursor: CursorWrapper) -> Known:
        """The foreign keys of the database. Only if it does not put constraints off."""
        raise NotImplementedError

    def wait_for_locks(self, cursor: CursorWrapper, milliseconds: float) -> None:
        """In a transaction: wait so long for a lock at most, where that can be said."""

    @contextmanager
    def hasty(self, connection: BaseDatabaseWrapper) -> Iterator[None]:
        """For whoever tries again himself: a statement does not wait for a lock, if it can help."""
        yield

    def pass_capture_by(self, cursor: CursorWrapper) -> None:
        """In a transaction: let our own triggers pass by what is written from now on."""
        raise NotImplementedError

    def capture_again(self, cursor: CursorWrapper) -> None:
        """In the same transaction: what is written from now on is the project's own."""
        raise NotImplementedError

    def capture_after_failure(self, cursor: CursorWrapper) -> None:
        """The same before a rollback, where that does not do it."""

    def locked(self, rows: QuerySet[M], connection: BaseDatabaseWrapper) -> QuerySet[M]:
        """The rows, locked when they are read; what they are joined with is not, if possible."""
        alone = connection.features.has_select_for_update_of
        return rows.select_for_update(of=("self",) if alone else ())

    def next_numbers(self, cursor: CursorWrapper, table: str, column: str, count: int) -> list[int]:
        """Draw numbers for the integer key `column`. Only if `puts_off_constraints`."""
        raise NotImplementedError

    def can_come_again(self, cursor: CursorWrapper, table: str, columns: Collection[str]) -> bool:
        """Whether a row can be deleted, and inserted again by these columns, and nobody notices.

        It can't if a trigger or a rule of central's own would run, if the database would change or
        delete rows that point to it, or if the table has a column more: its value would be lost.
        """
        name = self.table_argument(cursor, table)
        cursor.execute(self.effects_sql, [_OURS, name, name, name])
        if cursor.fetchone() is not None:
            return False
        quoted = cursor.db.ops.quote_name(table).replace("%", "%%")
        cursor.execute(f"SELECT * FROM {quoted} WHERE 1 = 0", [])
        return {column[0] for column in cursor.description} <= set(columns)

    def table_argument(self, cursor: CursorWrapper, table: str) -> str:
        """The table as an argument of `effects_sql`."""
        return table

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
        """Note rows in the table of held rows; those that are there get the new generation.

        `common` is the holding and the generation of all. `all_new`: none should be there; raises
        IntegrityError if one may be.
        """
        rows = [(*common, name, key) for name, key in sorted(zip(names, keys, strict=True))]
        cursor.executemany(self.add_held_sql.format(table), rows)

    def count_held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> int:
        """How many rows with these names the table of held rows has for a holding."""
        sql = f"SELECT count(*) FROM {table} WHERE holding = %s AND name IN "
        return sum(row[0] for row in self._of_names(cursor, sql, holding, names))

    def held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> set[str]:
        """Which of these names, in hex, the table of held rows has for a holding."""
        sql = f"SELECT name FROM {table} WHERE holding = %s AND name IN "
        return {str(row[0]) for row in self._of_names(cursor, sql, holding, names)}

    def _of_names(
        self, cursor: CursorWrapper, sql: str, holding: int, names: Sequence[str]
    ) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            cursor.execute(f"{sql} ({', '.join(['%s'] * len(some))})", [holding, *some])
            yield from cursor.fetchall()

    def remove_held(
        self, cursor: CursorWrapper, table: str, holding: int, names: Sequence[str]
    ) -> None:
        """Delete rows from the table of held rows."""
        sql = f"DELETE FROM {table} WHERE holding = %s AND name = %s"
        cursor.executemany(sql, [(holding, name) for name in names])

    def is_durable(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether a commit survives a power loss, as an ack promises, by what a session can see."""
        return True

    def slow_journal(self, connection: BaseDatabaseWrapper) -> str:
        """The name of a journal mode that lets readers wait for the applier; "" if it does not."""
        return ""
