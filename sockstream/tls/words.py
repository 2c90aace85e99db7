"""What people are told about a failed connection: by code, by end, and by who found the fault.

`{where}` is the other end's address (for central's own port: ours), `{why}` what the system said.
The mend names `sockstream certs` where that tool made the authority, and else says what to ask of
the authority that there is.
"""

from __future__ import annotations

from typing import NamedTuple


class Told(NamedTuple):
    """The words, the mend, and the mend with an authority that our tool did not make."""

    words: str
    mend: str
    foreign: str = ""


_CLIENT = "Make one where the authority is: sockstream certs client NAME"
_SERVER = "At central, make one: sockstream certs server HOST..."
_CLOCKS = "and compare the clocks of both machines"
_ASK_CLIENT = (
    "Ask your authority for one that is for clients alone (extended key usage clientAuth), with the"
    " site's name as common name and in the URI urn:sockstream:site:NAME"
)
_ASK_SERVER = (
    "Ask your authority for one that is for servers alone (extended key usage serverAuth), with"
    " every host that sites have in --to"
)
_ASK_NEW = "Ask your authority for a new one"
_CHAIN = (
    "if an intermediate authority issued it, append that authority's certificate to the file of"
    ' SOCKSTREAM["CERT"]'
)


def client(*, tool: bool) -> str:
    """How a site gets another certificate, from `sockstream certs` or from another authority."""
    return _CLIENT if tool else _ASK_CLIENT


def server(*, tool: bool) -> str:
    """How central gets another certificate."""
    return _SERVER if tool else _ASK_SERVER


def renewal(name: str) -> str:
    """How a certificate is renewed that `sockstream certs` calls so; "" if it did not make it."""
    return f"Run where the authority is: sockstream certs renew {name}" if name else _ASK_NEW


def mistake(name: str) -> str:
    """What to do if a certificate was revoked that should not be."""
    renewing = f"run where the authority is: sockstream certs renew {name}" if name else ""
    return f"If it was by mistake, {renewing or 'ask your authority for a new one'}"


def revocations(*, tool: bool) -> str:
    """Where a new list of revoked certificates comes from."""
    if tool:
        return "Copy crl.pem there from where the authority is: `sockstream certs` makes it"
    return (
        "Put the list (CRL) of each of your authorities there, in PEM, all of them in one file;"
        ' SOCKSTREAM["CRL"] names it'
    )


AT_SITE: dict[str, Told] = {
    "connection-refused": Told(
        "Nothing listens at {where}",
        "Start oplog_receive there, or check the address of --to",
    ),
    "timeout": Told(
        "Central at {where} did not answer in time",
        "Check the address of --to and the firewalls on the way, and that oplog_receive runs there",
    ),
    "host-unknown": Told(
        "The host of {where} is not known: {why}",
        "Check the spelling of --to, and the name server of this machine",
    ),
    "unreachable": Told(
        "There is no way to {where}: {why}",
        "Check this machine's network, and the address of --to",
    ),
    "address-unavailable": Told(
        "No connection to {where} can be opened: {why}",
        "Check the address of --to",
    ),
    "forbidden": Told(
        "This machine forbids a connection to {where}: {why}",
        "Check its firewall",
    ),
    "connection-lost": Told(
        "Central at {where} closed the connection",
        "If it goes on, read the log of oplog_receive there: it says why",
    ),
    "tls-unknown-ca": Told(
        "The certificate of central at {where} is not signed by our authority: {why}",
        'Name the ca.crt of central\'s authority in SOCKSTREAM["CA"] or --ca',
        'Name the certificate of the authority that issued it in SOCKSTREAM["CA"] or --ca;'
        f" or at central, {_CHAIN}",
    ),
    "tls-expired": Told(
        "The certificate of central at {where} has expired",
        f"At central, run: sockstream certs renew NAME; start oplog_receive again; {_CLOCKS}",
        f"Have central's authority issue a new one; {_CLOCKS}",
    ),
    "tls-not-yet-valid": Told(
        "The certificate of central at {where} is not valid yet",
        "Compare the clocks of both machines",
    ),
    "tls-host-name": Told(
        "The certificate of central at {where} is for another host: {why}",
        "Use in --to a name that stands in it, or make one for this name at central:"
        " sockstream certs server HOST...",
        f"Use in --to a name that stands in it. Else: {_ASK_SERVER}",
    ),
    "tls-wrong-purpose": Told(
        "The certificate of central at {where} is not a server's",
        _SERVER,
        _ASK_SERVER,
    ),
    "tls-revoked": Told(
        "The certificate of central at {where} is revoked",
        _SERVER,
        _ASK_SERVER,
    ),
    "tls-certificate": Told(
        "The certificate of central at {where} is not accepted: {why}",
        _SERVER,
        _ASK_SERVER,
    ),
    "tls-not-tls": Told(
        "What listens at {where} does not speak TLS",
        "Check host and port of --to: they are those of oplog_receive --bind",
    ),
    "tls-version": Told(
        "What listens at {where} does not speak TLS 1.3",
        "Check host and port of --to, and what stands between (a proxy that ends TLS)",
    ),
}

HEARD_AT_SITE: dict[str, Told] = {
    "tls-unknown-ca": Told(
        "Central at {where} refuses our certificate: its authority did not sign it",
        "Make one with central's authority: sockstream certs client NAME",
        f"Use one of central's authority; {_CHAIN}",
    ),
    "tls-expired": Told(
        "Central at {where} refuses our certificate: it has expired",
        f"Where the authority is, run: sockstream certs renew NAME; {_CLOCKS}",
        f"{_ASK_NEW}; {_CLOCKS}",
    ),
    "tls-wrong-purpose": Told(
        "Central at {where} refuses our certificate: it is not a client's",
        _CLIENT,
        _ASK_CLIENT,
    ),
    "tls-no-certificate": Told(
        "Central at {where} refuses us: we have shown no certificate",
        'Name one in SOCKSTREAM["CERT"] or --cert',
    ),
    "tls-revoked": Told(
        "Central at {where} refuses our certificate: it is revoked",
        _CLIENT,
        _ASK_NEW,
    ),
    "tls-certificate": Told(
        "Central at {where} refuses our certificate: {why}",
        f"{_CLIENT}; {_CLOCKS}",
        f"{_ASK_CLIENT}; {_CLOCKS}",
    ),
    "tls-version": AT_SITE["tls-version"],
}

AT_CENTRAL: dict[str, Told] = {
    "port-in-use": Told(
        "Another program listens at {where} already",
        "Stop it (is oplog_receive running twice?), or choose another port in --bind",
    ),
    "address-unavailable": Told(
        "{where} is not an address of this machine",
        "Use in --bind one that it has, or 0.0.0.0 for all of them",
    ),
    "forbidden": Told(
        "This user may not listen at {where}: {why}",
        "Choose a port above 1023 in --bind",
    ),
    "host-unknown": Told(
        "The host of {where} is not known: {why}",
        "Use in --bind an address of this machine, or 0.0.0.0 for all of them",
    ),
    "timeout": Told(
        "The peer at {where} did not finish in time",
        "If it is a site, check its network; else find out what connects here",
    ),
    "connection-lost": Told(
        "The peer at {where} closed the connection",
        "If it is a site, its log says why",
    ),
    "tls-unknown-ca": Told(
        "The certificate of the peer at {where} is not signed by our authority: {why}",
        "If it is one of ours, make it a certificate: sockstream certs client NAME",
        'If it is a site, name the authority that issued it in SOCKSTREAM["CA"] or --ca;'
        f" or at the site, {_CHAIN}",
    ),
    "tls-expired": Told(
        "The certificate of the peer at {where} has expired",
        f"Renew it: sockstream certs renew NAME; take it to the site; {_CLOCKS}",
        f"Have its authority issue a new one, and take it to the site; {_CLOCKS}",
    ),
    "tls-not-yet-valid": Told(
        "The certificate of the peer at {where} is not valid yet",
        "Compare the clocks of both machines",
    ),
    "tls-wrong-purpose": Told(
        "The certificate of the peer at {where} is not a client's",
        "Make it one: sockstream certs client NAME",
        _ASK_CLIENT,
    ),
    "tls-no-certificate": Told(
        "The peer at {where} has shown no certificate",
        "If it is a site, make it one: sockstream certs client NAME",
        f"If it is a site: {_ASK_CLIENT}",
    ),
    "tls-revoked": Told(
        "The certificate of the peer at {where} is revoked",
        "If it was by mistake, renew it: sockstream certs renew NAME",
        "If it was by mistake, ask your authority for a new one",
    ),
    "tls-certificate": Told(
        "The certificate of the peer at {where} is not accepted: {why}",
        "If it is a site, make it another: sockstream certs client NAME",
        f"If it is a site: {_ASK_CLIENT}",
    ),
    "tls-not-tls": Told(
        "The peer at {where} does not speak TLS",
        "This port is for oplog_send alone; find out what connects here",
    ),
    "tls-version": Told(
        "The peer at {where} does not speak TLS 1.3",
        "This port is for oplog_send alone; find out what connects here",
    ),
}

HEARD_AT_CENTRAL: dict[str, Told] = {
    "tls-unknown-ca": Told(
        "The peer at {where} refuses our certificate: it trusts another authority",
        "Give the site our ca.crt",
        f"Give the site the certificate of our authority; or here, {_CHAIN}",
    ),
    "tls-expired": Told(
        "The peer at {where} refuses our certificate: it has expired",
        f"Run: sockstream certs renew NAME; start oplog_receive again; {_CLOCKS}",
        f"{_ASK_NEW}; {_CLOCKS}",
    ),
    "tls-wrong-purpose": Told(
        "The peer at {where} refuses our certificate: it is not a server's",
        "Make one: sockstream certs server HOST...",
        _ASK_SERVER,
    ),
    "tls-certificate": Told(
        "The peer at {where} refuses our certificate: {why}",
        "Is it for the host that the site has in --to? Make one: sockstream certs server HOST...",
        f"Is it for the host that the site has in --to? {_ASK_SERVER}",
    ),
    "tls-version": AT_CENTRAL["tls-version"],
}

AT_BOTH: dict[str, Told] = {
    "too-many-files": Told(
        "No more files or connections can be opened here: {why}",
        "Raise the limit (ulimit -n, or LimitNOFILE of the service)",
    ),
    "tls-failed": Told(
        "TLS with {where} failed: {why}",
        "If it goes on, read the log of the other end",
    ),
    "network": Told(
        "The connection with {where} failed: {why}",
        "If it goes on, check the network and the address",
    ),
}


def words_for(code: str, *, server: bool, heard: bool, tool: bool) -> tuple[str, str]:
    """The words and the mend for `code`, at central (`server`) or at a site.

    `heard`: an alert of the peer's said so. `tool`: `sockstream certs` made our authority.
    """
    own, alerts = (AT_CENTRAL, HEARD_AT_CENTRAL) if server else (AT_SITE, HEARD_AT_SITE)
    tables = (alerts, AT_BOTH) if heard else (own, AT_BOTH)
    found = next((table[code] for table in tables if code in table), None)
    told = found or AT_BOTH["tls-failed" if code.startswith("tls-") else "network"]
    return told.words, told.mend if tool or not told.foreign else told.foreign
