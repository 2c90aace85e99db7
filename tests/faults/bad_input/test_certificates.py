"""Certificates that are wrong: what either end says, and that the mend mends."""

from __future__ import annotations

import ssl

import pytest

from tests.faults.bad_input import strangers
from tests.faults.bad_input.ends import CENTRAL, Receiver, World, certs, refusal_of
from tests.faults.bad_input.papers import Papers

CLIENT = ssl.PROTOCOL_TLS_CLIENT


def test_a_site_that_trusts_another_authority(world: World, papers: Papers) -> None:
    ca, _ = papers.stranger()
    said = refusal_of(world.sender(settings=ca))
    assert said.startswith(f"The certificate of central at {world.address} is not signed by our")
    assert said.endswith('Name the ca.crt of central\'s authority in SOCKSTREAM["CA"] or --ca.')
    there = world.told()
    assert "refuses our certificate: it trusts another authority" in there
    assert there.endswith("Give the site our ca.crt.")


def test_a_site_of_another_authority(world: World, papers: Papers) -> None:
    _, signed = papers.stranger()
    said = refusal_of(world.sender(settings=signed))
    assert said.startswith(f"Central at {world.address} refuses our certificate: its authority")
    assert said.endswith("Make one with central's authority: sockstream certs client NAME.")
    there = world.told()
    assert "is not signed by our authority" in there
    assert there.endswith("make it a certificate: sockstream certs client NAME.")


def test_an_expired_site(world: World, papers: Papers) -> None:
    said = refusal_of(world.sender(settings=papers.expired("client")))
    assert said.startswith(f"Central at {world.address} refuses our certificate: it has expired")
    assert "sockstream certs renew NAME" in said
    there = world.told()
    assert "has expired. Renew it: sockstream certs renew NAME; take it to the site" in there


def test_an_expired_central_does_not_start(world: World, papers: Papers) -> None:
    wrong = papers.expired("server")
    said = refusal_of(Receiver(CENTRAL, world.certificates, settings=wrong))
    assert said.startswith(f'SOCKSTREAM["CERT"] or --cert: {wrong["CERT"]} expired on 20')
    assert "Run where the authority is: sockstream certs renew localhost" in said


def test_a_central_that_expired_meanwhile(world: World, papers: Papers) -> None:
    """The real command would not start with it, so TLS alone stands in for one that has."""
    context = papers.context(ssl.PROTOCOL_TLS_SERVER, papers.expired("server"))
    with strangers.listening(strangers.speaks_tls(context)) as address:
        said = refusal_of(world.sender("--to", address))
    assert said.startswith(f"The certificate of central at {address} has expired")
    assert "At central, run: sockstream certs renew NAME; start oplog_receive again" in said


def test_a_revoked_site(world: World, papers: Papers) -> None:
    name = "revoked"
    certs(papers.home, "client", name)
    certs(papers.home, "revoke", name)
    said = refusal_of(world.sender(settings=papers.of(name)))
    assert said.startswith(f"The certificate of '{name}' (serial ")
    assert said.endswith(f"run where the authority is: sockstream certs renew {name}.")
    assert said in world.told()


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (None, "has shown no certificate. If it is a site, make it one: "),
        ("localhost", "is not a client's. Make it one: "),
    ],
    ids=["none", "a server's"],
)
def test_a_program_that_oplog_send_would_not_be(
    world: World, papers: Papers, shown: str | None, words: str
) -> None:
    """oplog_send does not even start with such certificates; another program may try."""
    files = papers.of(shown) if shown else None
    with pytest.raises(OSError, match=r"(?i)certificate|reset|closed"):
        strangers.call(world.receiver.port, b"x", papers.context(CLIENT, files))
    said = world.told()
    assert words in said
    assert said.endswith("sockstream certs client NAME.")


def test_a_server_s_certificate_at_a_site(world: World, papers: Papers) -> None:
    wrong = papers.of("localhost")
    said = refusal_of(world.sender(settings=wrong))
    words = f"{wrong['CERT']} is a server's certificate, and this end needs a client's."
    assert said.endswith(f"{words} Run: sockstream certs client NAME.")


def test_a_client_s_certificate_at_central(world: World, papers: Papers) -> None:
    wrong = papers.of("site")
    said = refusal_of(Receiver(CENTRAL, world.certificates, settings=wrong))
    words = f"{wrong['CERT']} is a client's certificate, and this end needs a server's."
    assert said.endswith(f"{words} Run: sockstream certs server HOST...")


def test_no_client_certificate_named(world: World) -> None:
    said = refusal_of(world.sender(settings={"CERT": ""}))
    assert said.startswith('Neither --cert nor SOCKSTREAM["CERT"] is given')


def test_a_wrong_host_name(world: World, papers: Papers) -> None:
    settings = papers.server("central.example.org")
    with Receiver(CENTRAL, world.certificates, settings=settings) as elsewhere:
        said = refusal_of(world.sender("--to", elsewhere.address))
        elsewhere.wait_for_line("Refused")
        _, there = elsewhere.lines
    assert said.startswith(f"The certificate of central at {elsewhere.address} is for another host")
    assert "Use in --to a name that stands in it, or make one for this name" in said
    assert "refuses our certificate: bad certificate. Is it for the host" in there
