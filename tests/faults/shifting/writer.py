"""Another program on the site's database: random rows, whatever tables there are at the moment.

    python -m tests.faults.shifting.writer SEED

It ends when its standard input does, and prints how many writes it made, how many the database
refused, and those that were refused because of us.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import uuid
from collections import Counter
from typing import Any

import django
from django.conf import settings
from django.db import DatabaseError, connection, transaction


def main() -> None:
    """Write until the standard input is closed."""
    database = json.loads(os.environ["SHIFT_DATABASE"])
    settings.configure(DATABASES={"default": database}, USE_TZ=True)
    django.setup()
    draw, ended, counts = random.Random(sys.argv[1]), threading.Event(), Counter[str]()
    threading.Thread(target=_await_end, args=[ended], daemon=True).start()
    while not ended.is_set():
        try:
            with transaction.atomic():
                _write(draw)
        except (DatabaseError, KeyError) as error:  # the latter from a table that changes meanwhile
            counts["refused"] += 1
            if "sockstream" in str(error):
                counts[f"because of us: {str(error).splitlines()[0]}"] += 1
        else:
            counts["written"] += 1
    print(json.dumps(counts))


def _await_end(ended: threading.Event) -> None:
    sys.stdin.read()
    ended.set()


def _write(draw: random.Random) -> None:
    """Write to one table: a migration that changes two would meet deadlocks otherwise."""
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        tables = sorted(name for name in names if name.startswith("shift_"))
        if not tables:
            return
        table = draw.choice(tables)
        for _ in range(draw.randint(1, 3)):
            _change(cursor, table, draw)


def _change(cursor: Any, table: str, draw: random.Random) -> None:
    what = draw.random()
    if what < 0.5:
        _insert(cursor, table, draw)
        return
    cursor.execute(f"SELECT id FROM {table}")
    keys = [key for (key,) in cursor.fetchall()]
    if not keys:
        return
    key = draw.choice(keys)
    if what < 0.9 or len(keys) < 20:
        name = f"changed {draw.random():.6f}"
        cursor.execute(f"UPDATE {table} SET name = %s WHERE id = %s", [name, key])
    else:
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [key])


def _insert(cursor: Any, table: str, draw: random.Random) -> None:
    key = uuid.uuid4()
    values: dict[str, Any] = {"id": str(key), "name": f"made {draw.random():.6f}"}
    if connection.vendor == "sqlite" or not connection.features.has_native_uuid_field:
        values["id"] = key.hex
    relations = connection.introspection.get_relations(cursor, table)
    for column in connection.introspection.get_table_description(cursor, table):
        if column.name in values or column.name in relations:
            continue
        kind = connection.introspection.get_field_type(column.type_code, column)
        values[column.name] = draw.randint(0, 9) if "Int" in str(kind) else f"{draw.random():.6f}"
    columns = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    cursor.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))


if __name__ == "__main__":
    main()
