"""Who is not let in: one clear line here, a clear word to the peer, and no harm to the others."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta

import pytest
from cryptography import x509

from sockstream import tls
from sockstream.certs.authority import SITE_URI
from sockstream.receiver.models import Offset, Source
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Ping, pack
from tests.integration.receiver.central import HOST, Central
from tests.integration.receiver.site import Site, connected, slots
from tests.unit.trust import CLIENT_AUTH, NOW, SERVER_AUTH, Paths, Trust, certified

PATIENCE = 10.0


@pytest.fixture
def central_db(databases: object) -> str:
    databases.clean("central_sqlite")  # type: ignore[attr-defined]
    return "central_sqlite"


@contextmanager
def others_go_on(running: Central) -> Iterator[None]:
    """A site of good standing stays connected; its records arrive before and after."""
    good = running.site("good")
    good.oplog.add(slots(1))
    with connected(good):
        good.send_all()
        yield
        good.oplog.add(slots(1))
        good.send_all()


def context_of(trust: Trust, files: Paths) -> ssl.SSLContext:
    return tls.client_context(trust.ca, *files)


def dial(running: Central, context: ssl.SSLContext) -> None:
    """Connect and say hello with this context; raises OSError when central refuses TLS."""
    site = Site(running.address, context)
    with closing(site):
        site.dial()
        site.sock.settimeout(PATIENCE)
        site.sock.sendall(site.session.data_to_send())
        if not site.sock.recv(1):
            raise ConnectionResetError("closed")


def wait_for_end(connection: socket.socket) -> None:
    """Wait until central has ended the connection."""
    connection.settimeout(PATIENCE)
    with suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def anonymous(trust: Trust) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(trust.ca)
    return context


def test_no_client_certificate(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        with pytest.raises(OSError, match=r"(?i)certificate required|closed|reset"):
            dial(running, anonymous(trust))
        line = running.wait_for_line("has shown no certificate")
        assert line.startswith(f"WARNING Refused {HOST}:")
        assert "sockstream certs client NAME" in line


def test_certificate_of_another_authority(
    central_db: str, trust: Trust, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Trust(tmp_path_factory.mktemp("stranger"))
    context = anonymous(trust)
    context.load_cert_chain(*stranger.client())
    with Central(central_db, trust) as running, others_go_on(running):
        with pytest.raises(OSError, match=r"(?i)unknown ca|closed|reset"):
            dial(running, context)
        running.wait_for_line("is not signed by our authority")


def test_expired_certificate(central_db: str, trust: Trust) -> None:
    old = trust.client(made=NOW - timedelta(days=40), days=30)
    context = anonymous(trust)
    context.load_cert_chain(*old)
    with Central(central_db, trust) as running, others_go_on(running):
        with pytest.raises(OSError, match=r"(?i)expired|closed|reset"):
            dial(running, context)
        running.wait_for_line("has expired")


def test_server_certificate_used_as_a_client_s(central_db: str, trust: Trust) -> None:
    context = anonymous(trust)
    context.load_cert_chain(*trust.server())
    with Central(central_db, trust) as running, others_go_on(running):
        with pytest.raises(OSError, match=r"(?i)unsupported certificate|closed|reset"):
            dial(running, context)
        running.wait_for_line("is not a client's")


def test_tls_1_2(central_db: str, trust: Trust) -> None:
    context = context_of(trust, trust.client())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Central(central_db, trust) as running, others_go_on(running):
        with pytest.raises(ssl.SSLError, match=r"(?i)protocol version"):
            dial(running, context)
        running.wait_for_line("does not speak TLS 1.3")


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\nHost: central\r\n\r\n", b"\x00\x00\x00\x05hello", b"\xff" * 5000]
)
def test_plain_tcp(central_db: str, trust: Trust, said: bytes) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        with socket.create_connection(running.address, PATIENCE) as plain:
            plain.sendall(said)
            while plain.recv(4096):
                pass
        line = running.wait_for_line("does not speak TLS")
        assert "find out what connects here" in line


def test_somebody_who_only_looks_in(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        socket.create_connection(running.address, PATIENCE).close()
        running.wait_for_line("closed the connection")


def test_slow_handshake(central_db: str, trust: Trust) -> None:
    """Neither silence nor a byte now and then keeps a connection open."""
    with Central(central_db, trust, HANDSHAKE_TIMEOUT=1.0) as running, others_go_on(running):
        begun = time.monotonic()
        with socket.create_connection(running.address, PATIENCE) as plain:
            plain.settimeout(0.2)
            for byte in b"\x16\x03\x01\x02\x00" + b"\x01" * 100:
                try:
                    plain.sendall(bytes([byte]))
                    if plain.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        assert 0.8 < time.monotonic() - begun < 5
        running.wait_for_line("did not finish in time")


def test_no_hello_after_the_handshake(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, HANDSHAKE_TIMEOUT=1.0) as running, others_go_on(running):
        context = running.context()
        plain = socket.create_connection(running.address, PATIENCE)
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            secure.settimeout(PATIENCE)
            while secure.recv(4096):
                pass
        running.wait_for_line("did not finish the handshake in time")


def test_frame_that_is_too_large_for_a_first_one(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site("loud")
        site.dial()
        site.session.data_to_send()
        site._outbound = struct.pack(">I", 1 << 20) + b"x"
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "frame-too-large"
        running.wait_for_line("A frame of 1048576 bytes was announced")


def test_frame_that_is_too_large(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, MAX_FRAME=1 << 20) as running, others_go_on(running):
        site = running.site("loud")
        site.connect()
        site._outbound = struct.pack(">I", (1 << 20) + 1)
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "frame-too-large"


def test_revoked_certificate_hears_the_reason(central_db: str, trust: Trust) -> None:
    bad = trust.client("bad")
    trust.revocations([bad[0]]).rename(trust.folder / "crl.pem")
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site(context=context_of(trust, bad))
        with pytest.raises(WireError) as caught:
            site.connect()
        assert caught.value.code == "auth-revoked"
        assert "sockstream certs renew bad" in caught.value.mend
        running.wait_for_line("was revoked on")
    assert not Source.objects.using(central_db).filter(name="bad").exists()


BOTH = [CLIENT_AUTH, SERVER_AUTH]
A = SITE_URI + "a"
IDENTITIES: dict[str, tuple[str, list[str], list[x509.ObjectIdentifier] | None, str]] = {
    "for both ends": ("a", [A], BOTH, "tls-wrong-purpose"),
    "for anything": ("a", [A], None, "tls-wrong-purpose"),
    "no URI": ("a", [], [CLIENT_AUTH], "auth-identity"),
    "two URIs": ("a", [A, SITE_URI + "b"], [CLIENT_AUTH], "auth-identity"),
    "another's URI": ("a", [SITE_URI + "b"], [CLIENT_AUTH], "auth-identity"),
    "a name with a space": ("a b", [SITE_URI + "a b"], [CLIENT_AUTH], "auth-identity"),
    "a reserved name": ("crl", [SITE_URI + "crl"], [CLIENT_AUTH], "auth-identity"),
}


@pytest.mark.parametrize("odd", IDENTITIES)
def test_a_certificate_that_names_no_site_hears_the_reason(
    central_db: str, trust: Trust, odd: str
) -> None:
    name, uris, purposes, code = IDENTITIES[odd]
    files = certified(trust, name, uris, purposes)
    context = anonymous(trust)
    context.load_cert_chain(*files)
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site(context=context)
        with pytest.raises(WireError) as caught:
            site.connect()
        assert caught.value.code == code
        assert caught.value.class_ == "person"
        assert "certificate" in caught.value.words
        assert caught.value.mend
        line = running.wait_for_line("Refused")
        assert caught.value.words in line
        assert site.wait_until_closed() is not None
    assert [source.name for source in Source.objects.using(central_db)] == ["good"]


@pytest.mark.parametrize("says", ["nothing", "no hello", "an end"])
def test_a_certificate_that_names_no_site_has_no_more_time_than_others(
    central_db: str, trust: Trust, says: str
) -> None:
    context = anonymous(trust)
    context.load_cert_chain(*certified(trust, "a", [], [CLIENT_AUTH]))
    with (
        Central(central_db, trust, HANDSHAKE_TIMEOUT=0.5) as running,
        socket.create_connection(running.address, PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        begun = time.monotonic()
        if says == "no hello":
            secure.sendall(pack(Ping(1)))
        elif says == "an end":
            secure.shutdown(socket.SHUT_WR)
        secure.settimeout(PATIENCE)
        with suppress(OSError):
            while secure.recv(1_000):
                pass
        assert time.monotonic() - begun < 5
        assert sum("Refused" in line for line in running.lines) == 1
        assert not Source.objects.using(central_db).exists()


def test_certificate_that_is_revoked_meanwhile(central_db: str, trust: Trust) -> None:
    bad = trust.client("bad")
    crl = trust.folder / "crl.pem"
    trust.revocations([]).rename(crl)
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site(context=context_of(trust, bad))
        site.oplog.add(slots(1))
        site.connect()
        site.send_all()
        trust.revocations([bad[0]]).rename(crl)
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "auth-revoked"


def test_disabled_source(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site("naughty")
        site.oplog.add(slots(1))
        site.connect()
        site.send_all()
        Source.objects.using(central_db).filter(name="naughty").update(disabled=True)
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "source-disabled"
        with pytest.raises(WireError, match="disabled"):
            site.connect()
        Source.objects.using(central_db).filter(name="naughty").update(disabled=False)
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()


def test_history_that_central_does_not_know(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust) as running, others_go_on(running):
        site = running.site("rewound")
        site.oplog.add(slots(1))
        site.oplog.add(slots(1))
        with connected(site):
            site.send_all()
        site.oplog.batches.pop()
        with pytest.raises(WireError) as caught:
            site.connect()
        assert caught.value.code == "sender-rewound"
        running.wait_for_line("restored from an older copy")
    offset = Offset.objects.using(central_db).get(source__name="rewound")
    assert (offset.state, offset.error_code) == ("stopped", "sender-rewound")


def test_session_ends_when_it_is_too_old(central_db: str, trust: Trust) -> None:
    """The site hears bye in time, and comes back with a new handshake."""
    with Central(central_db, trust, SESSION_MAX=1.5) as running:
        site = running.site("short")
        site.oplog.add(slots(1))
        welcome = site.connect()
        assert 0 < welcome.session_deadline <= 1.5
        site.send_all()
        assert site.wait_until_closed() is None
        with connected(site):
            assert site.acked == 1


def test_more_connections_than_allowed(central_db: str, trust: Trust) -> None:
    with Central(central_db, trust, CONNECTIONS=2) as running, others_go_on(running):
        with connected(running.site("second")):
            with socket.create_connection(running.address, PATIENCE) as third:
                wait_for_end(third)
            running.wait_for_line('Raise SOCKSTREAM["CONNECTIONS"]')
        assert not running.said("it was the oldest")


@pytest.mark.parametrize("limit", [{"HANDSHAKES": 3}, {"CONNECTIONS": 4}])
def test_who_says_nothing_gives_way(central_db: str, trust: Trust, limit: dict[str, int]) -> None:
    """A crowd of strangers keeps no site out, though it holds every place."""
    with Central(central_db, trust, **limit) as running, others_go_on(running):
        crowd = [socket.create_connection(running.address, PATIENCE) for _ in range(3)]
        late = running.site("late")
        late.oplog.add(slots(1))
        with connected(late):
            late.send_all()
            wait_for_end(crowd[0])
            running.wait_for_line("it was the oldest")
        for one in crowd:
            one.close()


def test_more_streams_than_allowed(central_db: str, trust: Trust) -> None:
    """A site names its streams itself, and each leaves a row behind."""
    with Central(central_db, trust, STREAMS=2) as running, others_go_on(running):
        context = running.context("greedy")
        for name in ("one", "two", "two"):
            running.site(context=context, stream=name).connect()
        with pytest.raises(WireError) as caught:
            running.site(context=context, stream="three").connect()
        assert caught.value.code == "too-many-streams"
        running.wait_for_line('Raise SOCKSTREAM["STREAMS"] at central')
    assert Offset.objects.using(central_db).filter(source__name="greedy").count() == 2


def test_the_same_refusal_is_not_said_a_hundred_times(
    central_db: str, trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Central(central_db, trust) as running:
        for _ in range(20):
            with socket.create_connection(running.address, PATIENCE) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while plain.recv(4096):
                    pass
    said = [line for line in running.lines if "Refused" in line]
    assert len(said) == 2
    assert said[1].endswith("19 times more: tls-not-tls")
    assert not any("Traceback" in line for line in running.lines)


def test_last_words_are_heard_by_who_is_still_sending(central_db: str, trust: Trust) -> None:
    """Closing with unread bytes would break the connection, and take the reason with it."""
    with Central(central_db, trust) as running:
        site = running.site("loud")
        site.connect()
        site.sock.setblocking(True)
        site.sock.sendall(struct.pack(">I", 0xFFFFFFFF))
        running.wait_for_line("A frame of 4294967295 bytes was announced")
        for _ in range(64):
            site.sock.sendall(b"x" * (1 << 16))
        site.sock.setblocking(False)
        error = site.wait_until_closed()
        assert error is not None
        assert error.code == "frame-too-large"
