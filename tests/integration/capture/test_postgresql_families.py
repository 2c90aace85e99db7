"""Tables of PostgreSQL whose rows are in other tables: partitions, and tables that inherit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from sockstream.sender import capture
from sockstream.sender.models import CaptureLayout
from tests.integration.capture.replay import replayed, take, truth
from tests.integration.pair.ways import plain_connection
from tests.zoo.models import Slot

COLUMNS = "id uuid PRIMARY KEY, position integer, name varchar(50) NOT NULL DEFAULT ''"
PARTITIONED = f"""
    CREATE TABLE zoo_slot ({COLUMNS}) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF zoo_slot
        FOR VALUES FROM ('00000000-0000-0000-0000-000000000000')
        TO ('40000000-0000-0000-0000-000000000000') PARTITION BY HASH (id);
    CREATE TABLE low_0 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE low_1 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE middle PARTITION OF zoo_slot
        FOR VALUES FROM ('40000000-0000-0000-0000-000000000000')
        TO ('80000000-0000-0000-0000-000000000000');
"""
INHERITED = f"""
    CREATE TABLE zoo_slot ({COLUMNS});
    CREATE TABLE middle (extra text, PRIMARY KEY (id)) INHERITS (zoo_slot);
    CREATE TABLE low (more integer, PRIMARY KEY (id)) INHERITS (middle);
"""
HIGH = "FOR VALUES FROM ('80000000-0000-0000-0000-000000000000') TO (MAXVALUE)"

pytestmark = pytest.mark.parametrize("site", ["site_pg"], indirect=True)


@pytest.fixture
def other(site: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of another program, in autocommit."""
    with closing(plain_connection(site)) as connection:
        yield connection


@pytest.fixture
def made(
    request: pytest.FixtureRequest, site: str, other: psycopg.Connection[Any]
) -> Iterator[str]:
    """The table of slots is made so; gives the name of the table that holds the middle rows."""
    other.execute("ALTER TABLE zoo_slot RENAME TO plain_slot")
    other.execute(request.param)
    try:
        capture.install(site)
        assert capture.drift(site) == []
        yield "middle"
    finally:
        other.execute("DROP TABLE IF EXISTS zoo_slot, high CASCADE")
        other.execute("ALTER TABLE plain_slot RENAME TO zoo_slot")
        capture.install(site)
        assert capture.drift(site) == []


def put(site: str, first: str, count: int = 3) -> None:
    """Rows whose keys begin with this digit."""
    slots = (Slot(id=f"{first}{number:031x}", position=number) for number in range(count))
    Slot.objects.using(site).bulk_create(slots)


both = pytest.mark.parametrize(
    "made", [PARTITIONED, INHERITED], ids=["partitions", "heirs"], indirect=True
)
partitions = pytest.mark.parametrize("made", [PARTITIONED], ids=["partitions"], indirect=True)
heirs = pytest.mark.parametrize("made", [INHERITED], ids=["heirs"], indirect=True)


@both
def test_rows_of_all_tables_are_captured(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    put(site, "1")
    for number in range(4):
        key = f"5000000000000000000000000000000{number}"
        other.execute(f"INSERT INTO {made} (id, position) VALUES (%s, 1)", [key])
    Slot.objects.using(site).update(name="a")
    other.execute(f"UPDATE {made} SET name = 'b' WHERE id::text LIKE '%%1'", [])
    other.execute(f"DELETE FROM {made} WHERE id::text LIKE '%%2'", [])
    records = take(site)
    assert len(records) == 3 + 4 + 7 + 1 + 1
    assert replayed(records) == truth(site)


@partitions
def test_a_row_that_moves_to_another_partition(site: str, made: str) -> None:
    put(site, "1", 1)
    Slot.objects.using(site).update(id=f"5{1:031x}", name="moved")
    assert replayed(take(site)) == truth(site)


@both
def test_one_table_is_truncated(site: str, made: str, other: psycopg.Connection[Any]) -> None:
    put(site, "1")
    other.execute(f"INSERT INTO {made} (id, position) VALUES (%s, 1)", [f"5{1:031x}"])
    before = replayed(take(site))
    other.execute(f"TRUNCATE ONLY {made}")
    assert replayed(take(site), before) == truth(site)
    assert len(truth(site)) == 3


@both
def test_all_tables_are_truncated(site: str, made: str, other: psycopg.Connection[Any]) -> None:
    put(site, "1")
    other.execute(f"INSERT INTO {made} (id, position) VALUES (%s, 1)", [f"5{1:031x}"])
    before = replayed(take(site))
    other.execute("TRUNCATE zoo_slot")
    assert replayed(take(site), before) == truth(site) == {}


@heirs
def test_the_table_is_truncated_without_its_heirs(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    put(site, "1")
    other.execute(f"INSERT INTO {made} (id, position) VALUES (%s, 1)", [f"5{1:031x}"])
    before = replayed(take(site))
    other.execute("TRUNCATE ONLY zoo_slot")
    assert replayed(take(site), before) == truth(site)
    assert len(truth(site)) == 1


@both
def test_one_table_where_not_all_rows_can_be_seen(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    """What cannot be captured rightly does not happen."""
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1 FROM zoo_slot")
    put(site, "5")
    with pytest.raises(psycopg.errors.RaiseException, match="sockstream cannot capture TRUNCATE"):
        other.execute(f"TRUNCATE {made}")
    other.execute("ROLLBACK")
    assert replayed(take(site)) == truth(site)


@partitions
def test_all_partitions_where_not_all_rows_can_be_seen(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1 FROM zoo_slot")
    put(site, "5")
    before = replayed(take(site))
    other.execute("TRUNCATE zoo_slot")
    other.execute("COMMIT")
    assert replayed(take(site), before) == truth(site) == {}


@partitions
def test_a_partition_that_is_made_later(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    other.execute(f"CREATE TABLE high PARTITION OF zoo_slot {HIGH}")
    put(site, "9")
    Slot.objects.using(site).update(name="a")
    before = replayed(take(site))
    assert before == truth(site)
    assert capture.drift(site) == ["trigger !sockstream_truncate on public.high is missing"]
    capture.install(site)
    assert capture.drift(site) == []
    before = replayed(take(site), before)
    other.execute("TRUNCATE high")
    assert replayed(take(site), before) == truth(site) == {}


@partitions
def test_a_partition_that_brings_rows_along(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    put(site, "1")
    before = replayed(take(site))
    other.execute(f"CREATE TABLE high ({COLUMNS})")
    other.execute("INSERT INTO high VALUES ('90000000000000000000000000000000', 9, 'old')")
    other.execute(f"ALTER TABLE zoo_slot ATTACH PARTITION high {HIGH}")
    assert capture.drift(site) != []
    capture.install(site)
    [record] = take(site)
    assert record.op == "S"
    assert before | {(record.model, record.key): record.values} == truth(site)


@partitions
def test_a_partition_that_is_detached(site: str, made: str, other: psycopg.Connection[Any]) -> None:
    put(site, "5")
    other.execute("ALTER TABLE zoo_slot DETACH PARTITION middle")
    take(site)
    assert "left over" in " ".join(capture.drift(site))
    capture.install(site)
    other.execute("INSERT INTO middle VALUES (gen_random_uuid(), 1, '')")
    other.execute("TRUNCATE middle")
    other.execute("DROP TABLE middle")
    assert take(site) == []
    put(site, "1")
    assert replayed(take(site)) == truth(site)


@partitions
def test_a_partition_whose_trigger_is_disabled_is_found(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    other.execute('ALTER TABLE middle DISABLE TRIGGER "!sockstream_insert"')
    assert capture.drift(site) == [
        "trigger !sockstream_insert on public.zoo_slot is not as it has to be"
    ]
    capture.install(site)


@both
def test_rows_that_were_there_before_come_once(
    site: str, made: str, other: psycopg.Connection[Any]
) -> None:
    capture.remove(site)
    put(site, "1")
    other.execute(f"INSERT INTO {made} (id, position) VALUES (%s, 1)", [f"5{1:031x}"])
    CaptureLayout.objects.using(site).filter(model="zoo.slot").delete()
    capture.install(site)
    assert replayed(take(site)) == truth(site)


@heirs
def test_a_table_that_inherits_later(site: str, made: str, other: psycopg.Connection[Any]) -> None:
    other.execute("CREATE TABLE high () INHERITS (low)")
    other.execute("INSERT INTO high VALUES ('90000000000000000000000000000000', 9, 'old')")
    assert [words for words in capture.drift(site) if "public.high is missing" in words] != []
    capture.install(site)
    [record] = take(site)
    assert {(record.model, record.key): record.values} == truth(site)
