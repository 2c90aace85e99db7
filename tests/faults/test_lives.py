"""Certificates and versions that change while a stream runs."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from sockstream import tls
from sockstream.receiver.models import Offset, Source
from sockstream.wire.errors import WireError
from sockstream.wire.handshake import judge_hello
from tests.databases import Databases, Pair
from tests.ends import Certificates, SenderProcess
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import PeerClosing, connected, slots
from tests.unit.trust import Trust
from tests.zoo.models import Slot

LASTS = timedelta(seconds=3)


@pytest.fixture
def central_db(databases: Databases) -> str:
    databases.clean("central_sqlite")
    return "central_sqlite"


def test_a_certificate_that_ends_while_it_is_used(central_db: str, trust: Trust) -> None:
    """Central says bye at that moment, and lets nobody in with it afterwards."""
    short = trust.client(made=datetime.now(UTC) + LASTS - timedelta(days=1), days=1)
    context = tls.client_context(trust.ca, *short)
    with Central(central_db, trust) as running:
        site = running.site(context=context)
        site.oplog.add(slots(1))
        assert 0 < site.connect().session_deadline <= LASTS.total_seconds()
        site.send_all()
        before = site.sock.session
        assert site.wait_until_closed() is None
        assert site.said(PeerClosing)[0].bye.reason == "session-deadline"
        site.oplog.add(slots(1))
        for session in (None, before):
            with pytest.raises((OSError, WireError), match=r"(?i)expired|closed|reset"):
                refused(running, context, session)
        running.wait_for_line("has expired")
        assert Offset.objects.using(central_db).get().seq == 1
        renewed = running.site(oplog=site.oplog)
        with connected(renewed):
            renewed.send_all()
    assert Slot.objects.using(central_db).count() == 2


def refused(running: Central, context: ssl.SSLContext, session: ssl.SSLSession | None) -> None:
    """Shake hands with a session from before, and listen. Raises what central's refusal is."""
    with (
        socket.create_connection(running.address, 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as secure,
    ):
        assert not secure.session_reused
        if not secure.recv(1):
            raise ConnectionResetError("closed")


def test_a_certificate_that_is_renewed_under_load(central_db: str, trust: Trust) -> None:
    """While both are good, each connection may show either; nothing is lost or doubled."""
    old, new = (tls.client_context(trust.ca, *trust.client()) for _ in range(2))
    seen = set()
    with Central(central_db, trust) as running:
        oplog = running.site().oplog
        for context in (old, new, old, new):
            site = running.site(oplog=oplog, context=context)
            site.connect()
            oplog.add(slots(50))
            site.send_all()
            seen.add(Source.objects.using(central_db).get().serial)
            oplog.add(slots(50))
            # In flight when the next connection takes over.
            site.fill()
            site.pump()
        with connected(running.site(oplog=oplog, context=new)) as site:
            site.send_all()
    assert len(seen) == 2
    offset = Offset.objects.using(central_db).get()
    assert (offset.records_applied, offset.inserts_met) == (400, 0)
    assert Slot.objects.using(central_db).count() == 400


def test_a_site_that_is_newer(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running:
        site = running.site()
        site.oplog.add(slots(1))
        with pytest.raises(WireError, match="Upgrade the older end") as caught:
            site.connect(protocol_min=2, protocol_max=3)
        assert caught.value.code == "version-unsupported"
        running.wait_for_line("The site speaks versions 2 to 3")
        assert Offset.objects.using(central_db).get().seq == 0
        with connected(site, protocol_min=1, protocol_max=3):
            site.send_all()


def test_a_central_that_is_newer(
    databases: Databases,
    trust: Trust,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`oplog_send` itself hears that it is too old, and sends nothing."""
    pair = Pair("site_sqlite", "central_sqlite")
    databases.clean(pair.site, pair.central)
    Slot(name="one").save(using=pair.site)
    newer = partial(judge_hello, protocols=(2, 3))
    monkeypatch.setattr("sockstream.receiver.streams.offsets.handshake.judge_hello", newer)
    cert, key = trust.client()
    own = {"CA": str(trust.ca), "CERT": str(cert), "KEY": str(key)}
    with Central(pair.central, trust) as running:
        address = f"127.0.0.1:{running.address[1]}"
        sender = SenderProcess(pair.site, certificates, address, once=True, settings=own)
        with sender:
            assert sender.wait() == 1
            assert "CommandError: The site speaks versions 1 to 1 of the protocol" in sender.log
            assert "Traceback" not in sender.log
    assert not Slot.objects.using(pair.central).exists()
