"""What the columns of a database are, and so what their values are.

A field's class says what its values are meant to be. What they are says the column: a field of
somebody's own may call itself a DateTimeField and keep seconds, a table that is older than its
model has a TIMESTAMP where Django would make a DATETIME. So the class's kind holds where the
column is of a type that Django gives to that class, or of one that is written the same way;
elsewhere the kind is the type's.

PostgreSQL and MySQL are asked what their columns are. A column of SQLite holds whatever it is
given, so there the field is asked for its type: another one than its class has holds anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from django.conf import settings as django_settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from .rows import Column, Kind, Row, Type, end_of

_POSTGRESQL_SQL = """
WITH RECURSIVE found (name, column_, type, base, modifier) AS (
  SELECT t.name, a.attname, a.atttypid, a.atttypid, a.atttypmod
  FROM unnest(%s::text[], %s::text[]) t(name, quoted)
  JOIN pg_attribute a ON a.attrelid = to_regclass(t.quoted) AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT f.name, f.column_, f.type, d.typbasetype, d.typtypmod
  FROM found f JOIN pg_type d ON d.oid = f.base WHERE d.typtype = 'd'
)
SELECT f.name, f.column_, format_type(f.type, -1), b.typname, f.modifier,
  t.typarray <> 0 AND t.typdelim = ','
FROM found f JOIN pg_type b ON b.oid = f.base JOIN pg_type t ON t.oid = f.type
WHERE b.typtype <> 'd'
"""
_MYSQL_SQL = (
    "SELECT table_name, column_name, data_type, column_type, numeric_scale "
    "FROM information_schema.columns WHERE table_schema = DATABASE()"
)

_OF_TYPE: dict[str, dict[str, Kind]] = {
    "postgresql": {
        **dict.fromkeys(("int2", "int4", "int8"), Kind.INT),
        "bool": Kind.BOOL,
        **dict.fromkeys(("float4", "float8"), Kind.FLOAT),
        "numeric": Kind.DECIMAL,
        **dict.fromkeys(("varchar", "text", "bpchar", "citext", "inet", "cidr"), Kind.TEXT),
        "date": Kind.DATE,
        "time": Kind.TIME,
        "timestamptz": Kind.INSTANT,
        "interval": Kind.DURATION,
        "uuid": Kind.UUID,
        **dict.fromkeys(("jsonb", "json"), Kind.JSON),
        "bytea": Kind.BINARY,
        "hstore": Kind.HSTORE,
        **dict.fromkeys(("int4range", "int8range", "numrange"), Kind.RANGE),
        **dict.fromkeys(("tsrange", "tstzrange", "daterange"), Kind.RANGE),
    },
    "mysql": {
        **dict.fromkeys(("tinyint", "smallint", "mediumint", "int", "bigint"), Kind.INT),
        **dict.fromkeys(("bit", "year"), Kind.INT),
        **dict.fromkeys(("float", "double"), Kind.FLOAT),
        "decimal": Kind.DECIMAL,
        **dict.fromkeys(("char", "varchar", "enum", "set", "inet4", "inet6"), Kind.TEXT),
        **dict.fromkeys(("tinytext", "text", "mediumtext", "longtext"), Kind.TEXT),
        "date": Kind.DATE,
        "time": Kind.TIME,
        **dict.fromkeys(("datetime", "timestamp"), Kind.INSTANT),
        "uuid": Kind.UUID,
        "json": Kind.JSON,
    },
}
_ELSE = {"postgresql": Kind.RAW, "mysql": Kind.BINARY}
_WHOLE = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_LONG = {"tinytext", "text", "mediumtext", "longtext"}
# Other types whose values are written as the kind has them, so that a class may have them too.
_ALSO: dict[str, dict[Kind, set[str]]] = {
    "postgresql": {
        Kind.DATETIME: {"timestamptz"},
        # It has no zone: written in UTC, it is what Django reads as an instant.
        Kind.INSTANT: {"timestamp"},
        Kind.TEXT: {"uuid"},
    },
    "mysql": {
        Kind.BOOL: {*_WHOLE, "bit"},
        Kind.FLOAT: {"decimal"},
        Kind.DECIMAL: {"float", "double"},
        Kind.DATETIME: {"datetime", "timestamp"},
        Kind.DURATION: _WHOLE,
        Kind.UUID: {"char(32)"},
        Kind.JSON: _LONG,
        Kind.TEXT: {*_WHOLE, "decimal", "float", "double", "date", "time", "datetime"}
        | {"uuid", "json"},
    },
}
_SCALE_BITS = 0x7FF
_HEADER = 4


@dataclass(frozen=True)
class _Known:
    """What a session of a database has told."""

    session: object
    tables: dict[str, dict[str, Type]] = field(default_factory=dict)
    columns: dict[tuple[str, Column], Column] = field(default_factory=dict)


_known: WeakKeyDictionary[BaseDatabaseWrapper, _Known] = WeakKeyDictionary()


def types(connection: BaseDatabaseWrapper, tables: Iterable[str]) -> dict[tuple[str, str], Type]:
    """The types of the columns of these tables, by the table's and the column's names, as far as
    they are there. SQLite is not asked."""
    ask = _ASK.get(connection.vendor)
    if ask is None:
        return {}
    with connection.cursor() as cursor:
        return ask(cursor, list(tables))


def _ask_postgresql(cursor: CursorWrapper, tables: list[str]) -> dict[tuple[str, str], Type]:
    cursor.execute(_POSTGRESQL_SQL, [tables, [cursor.db.ops.quote_name(name) for name in tables]])
    return {
        (table, column): Type(name, base, base, _scale(base, modifier), listed)
        for table, column, name, base, modifier, listed in cursor.fetchall()
    }


def _ask_mysql(cursor: CursorWrapper, tables: list[str]) -> dict[tuple[str, str], Type]:
    marks = ", ".join(["%s"] * len(tables))
    cursor.execute(f"{_MYSQL_SQL} AND table_name IN ({marks})", tables)
    return {
        (table, column): Type(_text(base), _text(base), _text(full), scale)
        for table, column, base, full, scale in cursor.fetchall()
    }


_ASK: dict[str, Callable[[CursorWrapper, list[str]], dict[tuple[str, str], Type]]] = {
    "postgresql": _ask_postgresql,
    "mysql": _ask_mysql,
}


def here(connection: BaseDatabaseWrapper, table: str, column: Column) -> Column:
    """The column of a table as this database has it, which is asked once in a session."""
    known = _known.get(connection)
    if known is None or known.session is not connection.connection:
        connection.ensure_connection()
        known = _known[connection] = _Known(connection.connection)
    if table not in known.tables:
        found = types(connection, [table]).items()
        known.tables[table] = {_folded(name, connection): type_ for (_, name), type_ in found}
    if (table, column) not in known.columns:
        type_ = known.tables[table].get(_folded(column.column, connection))
        known.columns[table, column] = stored(column, type_, connection)
    return known.columns[table, column]


def row_here(connection: BaseDatabaseWrapper, row: Row) -> Row:
    """The row with each column as this database has it."""
    return mapped(row, lambda column: here(connection, row.table, column))


def _folded(name: str, connection: BaseDatabaseWrapper) -> str:
    return name.lower() if connection.vendor == "mysql" else name


def mapped(row: Row, change: Callable[[Column], Column]) -> Row:
    """The row with each of its columns changed."""
    return replace(
        row,
        pk=None if row.pk is None else change(row.pk),
        key=tuple(map(change, row.key)),
        others=tuple(map(change, row.others)),
    )


def stored(column: Column, found: Type | None, connection: BaseDatabaseWrapper) -> Column:
    """The column as the database has it; as its class says, if that is not known."""
    if connection.vendor == "sqlite":
        found = own_type(column, connection)
        if found is None or column.kind is Kind.REFERENCE:
            return replace(column, type=found)
        return replace(column, type=found, kind=Kind.ANY, base=None)
    if found is None or column.kind is Kind.REFERENCE or connection.vendor not in _OF_TYPE:
        return replace(column, type=found)
    if _fits(column, found, connection.vendor):
        return _with_places(replace(column, type=found), found)
    kind = _OF_TYPE[connection.vendor].get(found.base, _ELSE[connection.vendor])
    if kind is Kind.INSTANT and not django_settings.USE_TZ:
        kind = Kind.DATETIME
    return replace(column, type=found, kind=kind, base=None, places=found.scale)


def own_type(column: Column, connection: BaseDatabaseWrapper) -> Type | None:
    """The type that a field gives to its column; None if it is the one that its class has."""
    end = end_of(column.field)
    given = end.db_type(connection)
    if given is None or given == models.Field.db_type(end, connection):
        return None
    return Type(given, given.lower(), given.lower())


def _fits(column: Column, found: Type, vendor: str) -> bool:
    """Whether values of this type are written as the column's kind has them."""
    if column.kind is Kind.ARRAY:
        if column.base is None or not found.base.startswith("_"):
            return False
        element = found.base.removeprefix("_")
        inner = innermost(column)
        return inner.kind is Kind.RAW or _fits(inner, replace(found, base=element), vendor)
    also = _ALSO[vendor].get(column.kind, set())
    return _OF_TYPE[vendor].get(found.base) is column.kind or bool(also & {found.base, found.full})


def innermost(column: Column) -> Column:
    """What an array of arrays is made of at last."""
    while column.base is not None:
        column = column.base
    return column


def _with_places(column: Column, found: Type) -> Column:
    """How many places a decimal has is told by its column, too."""
    if column.base is not None:
        return replace(column, base=_with_places(column.base, found))
    return replace(column, places=found.scale) if column.kind is Kind.DECIMAL else column


def _scale(base: str, modifier: int) -> int | None:
    """The decimal places of a numeric(p, s), of which PostgreSQL allows less than none."""
    if base.lstrip("_") != "numeric" or modifier < _HEADER:
        return None
    scale = (modifier - _HEADER) & _SCALE_BITS
    return (scale ^ 0x400) - 0x400


def _text(value: str | bytes) -> str:
    return (value.decode() if isinstance(value, bytes) else value).lower()
