"""A database that refuses for now: the link stays, and the status of both ends says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from sockstream.receiver.models import Offset, State
from tests.databases import Databases
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import Progressed, Site, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

# Databases raise what a trigger tells them to, so that a table refuses and ours do not.
REFUSING = {
    "postgresql": """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON zoo_slot FOR EACH ROW EXECUTE FUNCTION refuse()
""",
    "mysql": "CREATE TRIGGER refuse BEFORE INSERT ON zoo_slot FOR EACH ROW "
    "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'not now'",
}
WILLING = {"postgresql": "DROP FUNCTION refuse() CASCADE", "mysql": "DROP TRIGGER refuse"}
CODES = [
    ("central_pg", "25P04", "retry"),
    ("central_pg", "25006", "db-readonly"),
    ("central_pg", "53100", "disk-full"),
    ("central_maria", 1205, "retry"),
    ("central_maria", 1290, "db-readonly"),
]


@contextmanager
def refusing(using: str, code: str | int) -> Iterator[None]:
    vendor = connections[using].vendor
    run(using, REFUSING[vendor].format(code=code))
    try:
        yield
    finally:
        run(using, WILLING[vendor])


def run(using: str, sql: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)


def told(site: Site) -> list[str]:
    """The codes that the site has heard, in turn."""
    heard = [event for event in site.events if isinstance(event, Progressed)]
    return [event.trouble.code if event.trouble else "" for event in heard]


@pytest.mark.parametrize(("using", "code", "meaning"), CODES)
def test_both_ends_hear_why_and_that_it_is_over(
    using: str, code: str | int, meaning: str, databases: Databases, trust: Trust
) -> None:
    databases.clean(using)
    with Central(using, trust, HEARTBEAT=30.0) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            with refusing(using, code):
                site.oplog.add(slots(1))
                site.fill()
                site.run(lambda: meaning in told(site), "told")
                offset = Offset.objects.using(using).get()
                assert (offset.state, offset.error_code) == (State.CONNECTED, meaning)
                assert "not now" in offset.error
                assert offset.error_at is not None
                assert site.acked == 1
            site.send_all()
            assert told(site)[-1] == ""
            found = Offset.objects.using(using).values_list("error_code", "error", "error_at")
            assert list(found) == [("", "", None)]
    assert Slot.objects.using(using).count() == 2


def test_a_failure_or_two_are_nothing_to_talk_about(databases: Databases, trust: Trust) -> None:
    databases.clean("central_pg")
    run("central_pg", "CREATE SEQUENCE twice")
    run(
        "central_pg",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('twice') < 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; "
        "RETURN NEW; END $$; "
        "CREATE TRIGGER refuse BEFORE INSERT ON zoo_slot FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    try:
        with Central("central_pg", trust, HEARTBEAT=30.0) as running:
            site = running.site()
            site.oplog.add(slots(1))
            with connected(site):
                site.send_all()
            assert running.said("the database is back after 2 attempts")
            assert not any(told(site))
    finally:
        run("central_pg", "DROP FUNCTION refuse() CASCADE; DROP SEQUENCE twice")


def test_a_database_that_cannot_note_it_is_told_to_the_site(
    databases: Databases, trust: Trust
) -> None:
    databases.clean("central_pg")
    with Central("central_pg", trust, HEARTBEAT=30.0) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
            run("central_pg", "ALTER DATABASE central_pg SET default_transaction_read_only = on")
            try:
                end_sessions()
                site.oplog.add(slots(1))
                site.fill()
                site.run(lambda: "db-readonly" in told(site), "told")
                assert Offset.objects.using("central_pg").get().error_code == ""
            finally:
                run("central_pg", "SET default_transaction_read_only = off")
                run("central_pg", "ALTER DATABASE central_pg RESET default_transaction_read_only")
            end_sessions()
            site.send_all()
            assert told(site)[-1] == ""
    assert Slot.objects.using("central_pg").count() == 2


def end_sessions() -> None:
    run(
        "central_pg",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
