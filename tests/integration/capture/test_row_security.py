"""Row-level security of PostgreSQL: policies that concern the role of the site itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from sockstream.conf import Settings
from sockstream.exceptions import SockstreamError
from sockstream.sender import capture
from sockstream.sender.capture.copying import copiers
from sockstream.sender.models import Capture, Stream
from sockstream.sender.oplog import store
from sockstream.sender.oplog.sequencer import Sequencer
from sockstream.sender.oplog.snapshot import Snapshot
from sockstream.wire import records
from tests.integration.capture.replay import replayed, take, truth
from tests.zoo.models import Author, Essay, Slot

TABLES = ("zoo_author", "zoo_essay", "zoo_essay_readers", "zoo_slot")
OWN = Settings(MODELS=("zoo",))

pytestmark = pytest.mark.parametrize("site", ["site_pg"], indirect=True)


@pytest.fixture
def tenant(site: str) -> Iterator[Any]:
    """The site works as a role that owns its tables, and sees no row whose name is not `seen`."""
    with connections[site].cursor() as cursor:
        cursor.execute("CREATE ROLE tenant")
        cursor.execute("GRANT ALL ON SCHEMA public TO tenant")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO tenant")
        cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO tenant")
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} OWNER TO tenant")
        for table in ("zoo_author", "zoo_slot"):
            cursor.execute(f"CREATE POLICY seen ON {table} FOR SELECT USING (name = 'seen')")
            cursor.execute(f"CREATE POLICY written ON {table} FOR INSERT WITH CHECK (true)")
            cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        cursor.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'sockstream%'")
        functions = [name for (name,) in cursor.fetchall()]
        for name in functions:
            cursor.execute(f'ALTER FUNCTION "{name}" OWNER TO tenant')
        cursor.execute("SET ROLE tenant")
        try:
            yield cursor
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("RESET row_security")
            for table in ("zoo_author", "zoo_slot"):
                cursor.execute(f"DROP POLICY seen ON {table}; DROP POLICY written ON {table}")
                cursor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
                cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            cursor.execute("REASSIGN OWNED BY tenant TO CURRENT_USER")
            cursor.execute("DROP OWNED BY tenant")
            cursor.execute("DROP ROLE tenant")
            capture.install(site)


def as_other(cursor: Any) -> None:
    """As a role that no policy concerns."""
    cursor.execute("RESET ROLE")


def test_a_row_that_its_writer_does_not_see_is_captured(site: str, tenant: Any) -> None:
    tenant.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'hidden')")
    Slot.objects.using(site).create(position=2, name="seen")
    as_other(tenant)
    assert replayed(take(site)) == truth(site)
    assert len(truth(site)) == 2


def test_truncate_removes_what_is_hidden(site: str, tenant: Any) -> None:
    tenant.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'hidden')")
    before = replayed(take(site))
    tenant.execute("TRUNCATE zoo_slot")
    assert replayed(take(site), before) == {}


@pytest.mark.parametrize("mode", ["triggers", "signals"])
def test_a_snapshot_is_refused_before_it_begins(site: str, tenant: Any, mode: str) -> None:
    tenant.execute("INSERT INTO zoo_slot VALUES (gen_random_uuid(), 1, 'hidden')")
    take(site)
    with pytest.raises(SockstreamError, match=r"zoo_slot from the role tenant.*BYPASSRLS") as met:
        Snapshot(site, Settings(MODELS=("zoo",), CAPTURE=mode), ["zoo.slot"]).take()
    assert met.value.code == "row-security"
    assert not Capture.objects.using(site).exists()
    assert not store.stream(site).snapshot


@pytest.mark.parametrize("mode", ["triggers", "signals"])
def test_a_policy_that_comes_while_rows_are_copied(site: str, tenant: Any, mode: str) -> None:
    tenant.execute("ALTER TABLE zoo_slot NO FORCE ROW LEVEL SECURITY")
    for number in range(3):
        Slot.objects.using(site).create(position=number)
    own = Settings(MODELS=("zoo",), CAPTURE=mode, BATCH_RECORDS=2)
    parts = copiers(site, own)["zoo.slot"].parts()
    assert next(parts) == 2
    tenant.execute("ALTER TABLE zoo_slot FORCE ROW LEVEL SECURITY")
    with pytest.raises(SockstreamError, match="zoo_slot"):
        next(parts)


def test_a_snapshot_looks_up_references_in_hidden_rows(site: str, tenant: Any) -> None:
    with pytest.raises(SockstreamError, match="zoo_author"):
        Snapshot(site, OWN, ["zoo.essay"]).take()


@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_reference_to_a_hidden_row(site: str, tenant: Any, setting: str) -> None:
    """The write is not refused; it is not numbered before the row is seen."""
    as_other(tenant)
    author = Author.objects.using(site).create(name="hidden")
    for _ in Sequencer(site, OWN).steps():
        pass
    tenant.execute("SET ROLE tenant")
    tenant.execute(f"SET row_security = {setting}")
    tenant.execute("SET CONSTRAINTS ALL DEFERRED")
    Essay.objects.using(site).create(title="t", author_id=author.pk)
    with pytest.raises(SockstreamError, match="zoo_author") as met:
        list(Sequencer(site, OWN).steps())
    assert met.value.code == "row-security"
    as_other(tenant)
    assert list(Sequencer(site, OWN).steps()) == [1]
    [segment] = records.segments(store.read(2, site, 1)[0])
    [(_, _, values)] = segment.records
    assert author.id.bytes in values
    assert Stream.objects.using(site).get().seq == 2
