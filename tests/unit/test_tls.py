"""Who gets through a handshake, and what each end is told if not."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from sockstream import tls
from sockstream.certs.authority import SITE_URI
from sockstream.exceptions import ConfigError
from tests.unit.ends import (
    Meeting,
    central,
    connected,
    failure,
    listening,
    site,
    told,
    what_central_sees,
    what_the_site_sees,
    without_checks,
)
from tests.unit.trust import (
    CLIENT_AUTH,
    NOW,
    SERVER_AUTH,
    YEAR,
    LaxTrust,
    Trust,
    certified,
)

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, in openssl/x509_vfy.h."""


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """The authority of both ends."""
    return Trust(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Another authority."""
    return Trust(tmp_path_factory.mktemp("stranger"))


def test_both_ends_learn_who_the_other_is(trust: Trust) -> None:
    server, client = trust.server("localhost", "127.0.0.1"), trust.client("site-a")
    seen_by_central, seen_by_site = Meeting(central(trust, server), site(trust, client)).held()
    assert isinstance(seen_by_central, tls.Peer)
    assert isinstance(seen_by_site, tls.Peer)
    cert = x509.load_pem_x509_certificate(client[0].read_bytes())
    assert seen_by_central == tls.Peer(
        "site-a", cert.serial_number, cert.not_valid_after_utc, cert.fingerprint(hashes.SHA256())
    )
    assert seen_by_site.name == "localhost"
    assert seen_by_central.not_after.tzinfo is not None
    assert tls.read_own(client[0]) == tls.Own(seen_by_central.not_after, "site-a")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_localhost_has_three_names(trust: Trust, host: str) -> None:
    pair = trust.server("localhost", "127.0.0.1", "::1")
    found = Meeting(central(trust, pair), site(trust), host).held()
    assert all(isinstance(peer, tls.Peer) for peer in found)


def test_a_site_of_another_authority(trust: Trust, stranger: Trust) -> None:
    foreign = tls.client_context(trust.ca, *stranger.client())
    at_central, at_site = map(told, Meeting(central(trust), foreign).held())
    assert at_central == (
        "tls-unknown-ca",
        "The certificate of the peer at 127.0.0.1:PORT is not signed by our authority:"
        " unable to get local issuer certificate."
        " If it is one of ours, make it a certificate: sockstream certs client NAME.",
    )
    assert at_site == (
        "tls-unknown-ca",
        "Central at 127.0.0.1:PORT refuses our certificate: its authority did not sign it."
        " Make one with central's authority: sockstream certs client NAME.",
    )


def test_a_central_of_another_authority(trust: Trust, stranger: Trust) -> None:
    at_central, at_site = map(told, Meeting(central(trust), site(stranger)).held())
    assert at_central == (
        "tls-unknown-ca",
        "The peer at 127.0.0.1:PORT refuses our certificate: it trusts another authority."
        " Give the site our ca.crt.",
    )
    assert at_site == (
        "tls-unknown-ca",
        "The certificate of central at 127.0.0.1:PORT is not signed by our authority:"
        " self-signed certificate in certificate chain."
        ' Name the ca.crt of central\'s authority in SOCKSTREAM["CA"] or --ca.',
    )


def test_the_system_s_authorities_count_for_nothing(trust: Trust) -> None:
    for context in (central(trust), site(trust)):
        trusted = context.get_ca_certs(binary_form=True)
        assert trusted == [trust.authority.cert.public_bytes(serialization.Encoding.DER)]


def test_an_expired_site(trust: Trust) -> None:
    old = trust.client(made=NOW - YEAR, days=30)
    at_central, at_site = map(told, Meeting(central(trust), site(trust, old)).held())
    assert at_central == (
        "tls-expired",
        "The certificate of the peer at 127.0.0.1:PORT has expired."
        " Renew it: sockstream certs renew NAME; take it to the site;"
        " and compare the clocks of both machines.",
    )
    assert at_site == (
        "tls-expired",
        "Central at 127.0.0.1:PORT refuses our certificate: it has expired."
        " Where the authority is, run: sockstream certs renew NAME;"
        " and compare the clocks of both machines.",
    )


def test_who_expires_before_openssl_sees_it(trust: Trust) -> None:
    """Its clock is behind ours by up to ten milliseconds; here it does not look at all."""
    late = central(trust)
    late.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    old = trust.client("site-a", made=NOW - YEAR, days=30)
    at_central, _ = Meeting(late, site(trust, old)).held()
    assert told(at_central)[0] == "tls-expired"
    assert re.match("The certificate of 'site-a' has expired .* renew site-a", told(at_central)[1])


def test_an_expired_central(trust: Trust) -> None:
    old = trust.server(made=NOW - YEAR, days=30)
    at_central, at_site = map(told, Meeting(central(trust, old), site(trust)).held())
    assert at_central[0] == at_site[0] == "tls-expired"
    assert "refuses our certificate: it has expired" in at_central[1]
    assert "The certificate of central at 127.0.0.1:PORT has expired" in at_site[1]


def test_a_central_sees_that_its_own_has_expired(trust: Trust) -> None:
    old, _ = trust.server(made=NOW - YEAR, days=30)
    with pytest.raises(ConfigError, match=rf"{old} expired on .*certs renew localhost; or set"):
        tls.require_valid(old)
    tls.require_valid(trust.server()[0])


def test_a_certificate_of_tomorrow(trust: Trust) -> None:
    early = trust.client(made=NOW + timedelta(days=1))
    at_central, at_site = map(told, Meeting(central(trust), site(trust, early)).held())
    assert at_central[0] == "tls-not-yet-valid"
    assert "Compare the clocks" in at_central[1]
    assert at_site[0] == "tls-certificate"
    assert "compare the clocks" in at_site[1]
    ahead = trust.server(made=NOW + timedelta(days=1))
    at_central, at_site = map(told, Meeting(central(trust, ahead), site(trust)).held())
    assert (at_central[0], at_site[0]) == ("tls-certificate", "tls-not-yet-valid")


def test_a_clock_a_few_minutes_behind_is_no_reason(trust: Trust) -> None:
    fresh = trust.client(made=NOW + timedelta(minutes=4))
    found = Meeting(central(trust), site(trust, fresh)).held()
    assert all(isinstance(peer, tls.Peer) for peer in found)


def test_no_client_certificate(trust: Trust) -> None:
    bare = without_checks(ssl.PROTOCOL_TLS_CLIENT, trust, None)
    at_central, at_site = map(told, Meeting(central(trust), bare).held())
    assert at_central == (
        "tls-no-certificate",
        "The peer at 127.0.0.1:PORT has shown no certificate."
        " If it is a site, make it one: sockstream certs client NAME.",
    )
    assert at_site == (
        "tls-no-certificate",
        "Central at 127.0.0.1:PORT refuses us: we have shown no certificate."
        ' Name one in SOCKSTREAM["CERT"] or --cert.',
    )


def test_the_refusal_of_a_site_is_heard_at_recv_only(trust: Trust) -> None:
    bare = without_checks(ssl.PROTOCOL_TLS_CLIENT, trust, None)
    sent = threading.Event()
    with listening() as listener, ThreadPoolExecutor(1) as thread:
        refused = thread.submit(refusing, central(trust), listener, sent)
        with connected(bare, listener.getsockname()[1]) as connection:
            connection.sendall(b"a hello")
            sent.set()
            refused.result(10)
            with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
                connection.recv(1)


def refusing(context: ssl.SSLContext, listener: socket.socket, sent: threading.Event) -> None:
    """Refuse a peer that has no certificate, but let it send before the connection is closed."""
    accepted, _ = listener.accept()
    with context.wrap_socket(
        accepted, server_side=True, do_handshake_on_connect=False
    ) as connection:
        with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            connection.do_handshake()
        assert sent.wait(5)
        # What is left unread would make the kernel send a reset.
        socket.socket.recv(connection, 10_000)


def test_a_server_s_certificate_used_as_a_client_s(trust: Trust) -> None:
    wrong = without_checks(ssl.PROTOCOL_TLS_CLIENT, trust, trust.server())
    at_central, at_site = map(told, Meeting(central(trust), wrong).held())
    assert at_central == (
        "tls-wrong-purpose",
        "The certificate of the peer at 127.0.0.1:PORT is not a client's."
        " Make it one: sockstream certs client NAME.",
    )
    assert at_site == (
        "tls-wrong-purpose",
        "Central at 127.0.0.1:PORT refuses our certificate: it is not a client's."
        " Make one where the authority is: sockstream certs client NAME.",
    )


def test_a_client_s_certificate_used_as_a_server_s(trust: Trust) -> None:
    wrong = without_checks(ssl.PROTOCOL_TLS_SERVER, trust, trust.client())
    at_central, at_site = map(told, Meeting(wrong, site(trust)).held())
    assert at_central[0] == at_site[0] == "tls-wrong-purpose"
    assert "refuses our certificate: it is not a server's" in at_central[1]
    assert "The certificate of central at 127.0.0.1:PORT is not a server's" in at_site[1]


def test_our_own_end_refuses_the_wrong_kind_before_it_connects(trust: Trust) -> None:
    server, client = trust.server(), trust.client()
    with pytest.raises(ConfigError) as found:
        tls.client_context(trust.ca, *server)
    assert str(found.value) == (
        f'SOCKSTREAM["CERT"] or --cert: {server[0]} is a server\'s certificate, and this end'
        " needs a client's. Run: sockstream certs client NAME."
    )
    with pytest.raises(
        ConfigError, match=r"is a client's certificate, and this end needs a server's"
    ):
        tls.server_context(trust.ca, *client)


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("central.example.org", "certificate is not valid for 'central.example.org'"),
        ("192.0.2.1", "certificate is not valid for '192.0.2.1'"),
    ],
)
def test_a_wrong_host_name(trust: Trust, host: str, why: str) -> None:
    at_central, at_site = map(told, Meeting(central(trust), site(trust), host).held())
    assert at_site[0] == "tls-host-name"
    assert f"The certificate of central at {host}:PORT is for another host" in at_site[1]
    assert why in at_site[1]
    assert "sockstream certs server HOST" in at_site[1]
    assert at_central[0] == "tls-certificate"
    assert "Is it for the host that the site has in --to?" in at_central[1]


def test_a_revoked_site(trust: Trust) -> None:
    pair = trust.client("site-a")
    crl = trust.revocations([pair[0]])
    at_central, at_site = Meeting(central(trust), site(trust, pair), crl=crl, ca=trust.ca).held()
    code, line = told(at_central)
    assert code == "auth-revoked"
    assert re.fullmatch(
        r"The certificate of 'site-a' \(serial [0-9a-f]+\) was revoked on [0-9-]+\."
        r" If it was by mistake, run where the authority is: sockstream certs renew site-a\.",
        line,
    )
    # Over the wire central says why, in a message; here it just hangs up.
    assert told(at_site)[0] == "connection-lost"


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\x10" + bytes(16), b"\x93\x01"]
)
def test_plain_tcp_to_our_port(trust: Trust, said: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(100):
            pass

    code, line = told(what_central_sees(central(trust), speak))
    assert code == ("tls-not-tls" if len(said) > 5 else "connection-lost")
    if code == "tls-not-tls":
        assert line == (
            "The peer at 127.0.0.1:PORT does not speak TLS."
            " This port is for oplog_send alone; find out what connects here."
        )


def test_a_peer_that_says_nothing(trust: Trust) -> None:
    def wait(connection: socket.socket) -> None:
        connection.recv(1)

    code, line = told(what_central_sees(central(trust), wait, patience=0.2))
    assert code == "timeout"
    assert "The peer at 127.0.0.1:PORT did not finish in time" in line


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"220 mail ready\r\n"])
def test_a_port_that_speaks_no_tls(trust: Trust, answer: bytes) -> None:
    assert told(what_the_site_sees(site(trust), answer)) == (
        "tls-not-tls",
        "What listens at 127.0.0.1:PORT does not speak TLS."
        " Check host and port of --to: they are those of oplog_receive --bind.",
    )


def test_a_port_that_hangs_up(trust: Trust) -> None:
    code, line = told(what_the_site_sees(site(trust), b""))
    assert code == "connection-lost"
    assert "Central at 127.0.0.1:PORT closed the connection" in line


def test_a_port_that_never_answers(trust: Trust) -> None:
    code, line = told(what_the_site_sees(site(trust), None))
    assert code == "timeout"
    assert "did not answer in time" in line


def test_a_connection_that_is_reset(trust: Trust) -> None:
    with listening() as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            accepted, _ = listener.accept()
            at_site = site(trust).wrap_socket(
                plain, server_hostname="127.0.0.1", do_handshake_on_connect=False
            )
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            with at_site:
                error = failure(at_site.do_handshake)
    assert told(tls.explain(error, "127.0.0.1", port, server=False))[0] == "connection-lost"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_site_that_speaks_tls_1_2(trust: Trust) -> None:
    old = site(trust)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    at_central, at_site = map(told, Meeting(central(trust), old).held())
    assert at_central == (
        "tls-version",
        "The peer at 127.0.0.1:PORT does not speak TLS 1.3."
        " This port is for oplog_send alone; find out what connects here.",
    )
    assert at_site[0] == "tls-version"


def test_a_central_that_speaks_tls_1_2(trust: Trust) -> None:
    old = central(trust)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    at_central, at_site = map(told, Meeting(old, site(trust)).held())
    assert at_central[0] == "tls-version"
    assert at_site == (
        "tls-version",
        "What listens at 127.0.0.1:PORT does not speak TLS 1.3."
        " Check host and port of --to, and what stands between (a proxy that ends TLS).",
    )


def test_only_tls_1_3_is_spoken(trust: Trust) -> None:
    for context in (central(trust), site(trust)):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3


def test_no_session_is_resumed(trust: Trust) -> None:
    at_site = site(trust)
    with listening() as listener, ThreadPoolExecutor(1) as thread:
        port = listener.getsockname()[1]

        def serve(context: ssl.SSLContext) -> list[bool]:
            return [greet(context, listener) for _ in range(2)]

        resumed = thread.submit(serve, central(trust))
        session = None
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", port), 5)
            with at_site.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
                assert secure.recv(1) == b"x"
                assert secure.session_reused is False
                session = secure.session
                secure.sendall(b"y")
        assert resumed.result(10) == [False, False]
        assert session is None or not session.has_ticket


def greet(context: ssl.SSLContext, listener: socket.socket) -> bool:
    """Serve one connection; whether it has resumed a session."""
    accepted, _ = listener.accept()
    accepted.settimeout(5)
    with context.wrap_socket(accepted, server_side=True) as connection:
        connection.sendall(b"x")
        connection.recv(1)
        return bool(connection.session_reused)


def test_an_authority_that_breaks_the_rules_is_refused_by_every_python(
    trust: Trust, tmp_path: Path
) -> None:
    lax = LaxTrust(tmp_path)
    at_site = without_checks(ssl.PROTOCOL_TLS_CLIENT, lax, lax.client())
    # Since 3.13 Python checks strictly by itself, but not in a bare context.
    at_site.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    at_central, _ = map(told, Meeting(central(lax), at_site).held())
    assert at_central[0] == "tls-certificate"
    assert "key usage" in at_central[1]


@pytest.mark.parametrize(
    "uris",
    [[], [SITE_URI + "site-b"], [SITE_URI + "site-a", SITE_URI + "site-b"], ["urn:other:site-a"]],
    ids=["no URI", "another site's", "two sites'", "not ours"],
)
def test_name_and_uri_have_to_name_one_site(trust: Trust, uris: list[str]) -> None:
    odd = certified(trust, "site-a", uris, [CLIENT_AUTH])
    at_central, _ = Meeting(central(trust), site(trust, odd)).held()
    code, line = told(at_central)
    assert code == "auth-identity"
    assert "'site-a'" in line


@pytest.mark.parametrize("purposes", [None, [CLIENT_AUTH, SERVER_AUTH]], ids=["none", "both"])
def test_a_certificate_for_everything_is_no_site_s(
    trust: Trust, purposes: list[x509.ObjectIdentifier] | None
) -> None:
    odd = certified(trust, "site-a", [SITE_URI + "site-a"], purposes)
    at_central, _ = Meeting(central(trust), site(trust, odd)).held()
    assert told(at_central)[0] == "tls-wrong-purpose"


def test_a_connection_in_memory_has_a_peer_too(trust: Trust) -> None:
    to_central, to_site = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_central = central(trust).wrap_bio(to_central, to_site, server_side=True)
    at_site = site(trust, trust.client("site-a")).wrap_bio(
        to_site, to_central, server_hostname="localhost"
    )
    for end in (at_site, at_central, at_site, at_central):
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    assert tls.peer_identity(at_central).name == "site-a"
    assert tls.peer_identity(at_site).name == "localhost"


def test_who_shows_nothing_has_no_name(trust: Trust) -> None:
    lax = central(trust)
    lax.verify_mode = ssl.CERT_OPTIONAL
    bare = without_checks(ssl.PROTOCOL_TLS_CLIENT, trust, None)
    at_central, _ = Meeting(lax, bare).held()
    assert told(at_central)[0] == "tls-no-certificate"


def test_a_certificate_that_openssl_takes_and_that_cannot_be_read(trust: Trust) -> None:
    uri_that_is_no_text = b"\x30\x04\x86\x02\xff\xfe"
    odd = certified(trust, "site-a", uri_that_is_no_text, [CLIENT_AUTH])
    with pytest.raises(ConfigError, match="holds a malformed certificate"):
        site(trust, odd)
    unchecked = without_checks(ssl.PROTOCOL_TLS_CLIENT, trust, odd)
    at_central, _ = Meeting(central(trust), unchecked).held()
    code, line = told(at_central)
    assert code == "auth-identity"
    assert "cannot be read" in line
