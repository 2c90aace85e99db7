"""A site whose PostgreSQL cannot do it now: `oplog_send` says one line, waits, and goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from polls.models import Tag
from sockstream.exceptions import SockstreamError
from sockstream.sender import status
from sockstream.sender.models import Batch
from sockstream.sender.oplog.lease import Lease
from tests.databases import Databases
from tests.ends import Certificates, SenderProcess, wait_until
from tests.servers import HOST, free_port

REFUSING = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{state}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture
def site(databases: Databases) -> Iterator[str]:
    databases.clean("site_pg")
    yield "site_pg"
    with connections["site_pg"].cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS refuse() CASCADE")
        cursor.execute("ALTER DATABASE site_pg RESET default_transaction_read_only")


def told(site: str) -> str:
    [row] = status.report(site)
    assert row["running"]
    return str(row["error_code"])


def numbered(site: str) -> bool:
    return Batch.objects.using(site).exists()


# Django files the first three under InternalError, which is no class of a database that is away.
@pytest.mark.parametrize("state", ["25006", "25P03", "25P04", "57014", "53100"])
def test_it_waits_and_goes_on(state: str, site: str, certificates: Certificates) -> None:
    with SenderProcess(site, certificates, f"{HOST}:{free_port()}") as sender:
        sender.wait_for_line("Nothing listens")
        with connections[site].cursor() as cursor:
            cursor.execute(REFUSING.format(state=state, table=Batch._meta.db_table))
        Tag.objects.using(site).create(name="one")
        sender.wait_for_line("Database '.*' cannot be used: not now")
        if state != "25006":  # a database that is read-only cannot be told
            wait_until(lambda: told(site) == "database-unreachable", "the status shows it")
            with pytest.raises(SockstreamError, match=f"process {sender.pid}"), Lease(site):
                pass
        with connections[site].cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse() CASCADE")
        wait_until(lambda: numbered(site), "the row is numbered")
        assert sender.stop() == 0
    assert "Traceback" not in sender.log
    assert sender.log.count("cannot be used") == 1


def test_a_standby_that_is_promoted_later(site: str, certificates: Certificates) -> None:
    """Each statement of ours is refused meanwhile, also the one that notes the state."""
    with SenderProcess(site, certificates, f"{HOST}:{free_port()}") as sender:
        sender.wait_for_line("Nothing listens")
        with connections[site].cursor() as cursor:
            cursor.execute("ALTER DATABASE site_pg SET default_transaction_read_only = on")
        end_sessions(site)
        found = sender.wait_for_line("cannot be used: (.*read-only.*)")
        assert "let DATABASES name the server that accepts writes" in found[1]
        with connections[site].cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = off")
            cursor.execute("ALTER DATABASE site_pg RESET default_transaction_read_only")
        end_sessions(site)
        Tag.objects.using(site).create(name="one")
        wait_until(lambda: numbered(site), "the row is numbered")
        assert sender.stop() == 0
    assert "Traceback" not in sender.log


def end_sessions(site: str) -> None:
    with connections[site].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
