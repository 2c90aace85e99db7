"""Central's database refuses for now: `oplog_send` says so once, and the site's status shows it."""

from __future__ import annotations

from django.db import connections

from polls.models import Tag
from sockstream.sender.models import Stream
from tests.databases import Databases, Pair
from tests.ends import (
    Certificates,
    ReceiverProcess,
    SenderProcess,
    wait_until,
    wait_until_applied,
)

REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'too slow' USING ERRCODE = '25P04'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON polls_tag FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def shown(site: str) -> tuple[str, str, str]:
    row = Stream.objects.using(site).get(id=1)
    return row.state, row.error_code, row.error


def test_the_site_shows_it_until_it_is_over(
    databases: Databases, certificates: Certificates
) -> None:
    pair = Pair("site_sqlite", "central_pg")
    databases.clean(pair.site, pair.central)
    with (
        ReceiverProcess(pair.central, certificates) as receiver,
        SenderProcess(pair.site, certificates, receiver.address) as sender,
    ):
        sender.wait_until_connected()
        with connections[pair.central].cursor() as cursor:
            cursor.execute(REFUSE)
            try:
                Tag.objects.using(pair.site).create(name="one")
                sender.wait_for_line("WARNING Central's database: too slow")
                assert shown(pair.site)[:2] == ("connected", "retry")
                assert "too slow" in shown(pair.site)[2]
            finally:
                cursor.execute("DROP FUNCTION refuse() CASCADE")
        sender.wait_for_line("Central's database takes records again")
        wait_until_applied(pair, sender, receiver)
        wait_until(lambda: shown(pair.site) == ("connected", "", ""), "the status shows no error")
        assert sender.stop() == 0
    assert sender.log.count("too slow") == 1
