"""What people are told about a failed connection: by code, by end, and by who found the fault.

`{where}` is the other end's address (for central's own port: ours), `{why}` what the system said.
"""

from __future__ import annotations

Told = tuple[str, str]
"""The words, and the mend."""

_CLIENT = "Make one where the authority is: sockstream certs client NAME"
_SERVER = "At central, make one: sockstream certs server HOST..."
_CLOCKS = "and compare the clocks of both machines"

AT_SITE: dict[str, Told] = {
    "connection-refused": (
        "Nothing listens at {where}",
        "Start oplog_receive there, or check the address of --to",
    ),
    "timeout": (
        "Central at {where} did not answer in time",
        "Check the address of --to and the firewalls on the way, and that oplog_receive runs there",
    ),
    "host-unknown": (
        "The host of {where} is not known: {why}",
        "Check the spelling of --to, and the name server of this machine",
    ),
    "unreachable": (
        "There is no way to {where}: {why}",
        "Check this machine's network, and the address of --to",
    ),
    "address-unavailable": (
        "No connection to {where} can be opened: {why}",
        "Check the address of --to",
    ),
    "forbidden": (
        "This machine forbids a connection to {where}: {why}",
        "Check its firewall",
    ),
    "connection-lost": (
        "Central at {where} closed the connection",
        "If it goes on, read the log of oplog_receive there: it says why",
    ),
    "tls-unknown-ca": (
        "The certificate of central at {where} is not signed by our authority: {why}",
        'Name the ca.crt of central\'s authority in SOCKSTREAM["CA"] or --ca',
    ),
    "tls-expired": (
        "The certificate of central at {where} has expired",
        f"At central, run: sockstream certs renew NAME; start oplog_receive again; {_CLOCKS}",
    ),
    "tls-not-yet-valid": (
        "The certificate of central at {where} is not valid yet",
        "Compare the clocks of both machines",
    ),
    "tls-host-name": (
        "The certificate of central at {where} is for another host: {why}",
        "Use in --to a name that stands in it, or make one for this name at central:"
        " sockstream certs server HOST...",
    ),
    "tls-wrong-purpose": (
        "The certificate of central at {where} is not a server's",
        _SERVER,
    ),
    "tls-revoked": ("The certificate of central at {where} is revoked", _SERVER),
    "tls-certificate": ("The certificate of central at {where} is not accepted: {why}", _SERVER),
    "tls-not-tls": (
        "What listens at {where} does not speak TLS",
        "Check host and port of --to: they are those of oplog_receive --bind",
    ),
    "tls-version": (
        "What listens at {where} does not speak TLS 1.3",
        "Check host and port of --to, and what stands between (a proxy that ends TLS)",
    ),
}

HEARD_AT_SITE: dict[str, Told] = {
    "tls-unknown-ca": (
        "Central at {where} refuses our certificate: its authority did not sign it",
        "Make one with central's authority: sockstream certs client NAME",
    ),
    "tls-expired": (
        "Central at {where} refuses our certificate: it has expired",
        f"Where the authority is, run: sockstream certs renew NAME; {_CLOCKS}",
    ),
    "tls-wrong-purpose": (
        "Central at {where} refuses our certificate: it is not a client's",
        _CLIENT,
    ),
    "tls-no-certificate": (
        "Central at {where} refuses us: we have shown no certificate",
        'Name one in SOCKSTREAM["CERT"] or --cert',
    ),
    "tls-revoked": ("Central at {where} refuses our certificate: it is revoked", _CLIENT),
    "tls-certificate": (
        "Central at {where} refuses our certificate: {why}",
        f"{_CLIENT}; {_CLOCKS}",
    ),
    "tls-version": AT_SITE["tls-version"],
}

AT_CENTRAL: dict[str, Told] = {
    "port-in-use": (
        "Another program listens at {where} already",
        "Stop it (is oplog_receive running twice?), or choose another port in --bind",
    ),
    "address-unavailable": (
        "{where} is not an address of this machine",
        "Use in --bind one that it has, or 0.0.0.0 for all of them",
    ),
    "forbidden": (
        "This user may not listen at {where}: {why}",
        "Choose a port above 1023 in --bind",
    ),
    "host-unknown": (
        "The host of {where} is not known: {why}",
        "Use in --bind an address of this machine, or 0.0.0.0 for all of them",
    ),
    "timeout": (
        "The peer at {where} did not finish in time",
        "If it is a site, check its network; else find out what connects here",
    ),
    "connection-lost": (
        "The peer at {where} closed the connection",
        "If it is a site, its log says why",
    ),
    "tls-unknown-ca": (
        "The certificate of the peer at {where} is not signed by our authority: {why}",
        "If it is one of ours, make it a certificate: sockstream certs client NAME",
    ),
    "tls-expired": (
        "The certificate of the peer at {where} has expired",
        f"Renew it: sockstream certs renew NAME; take it to the site; {_CLOCKS}",
    ),
    "tls-not-yet-valid": (
        "The certificate of the peer at {where} is not valid yet",
        "Compare the clocks of both machines",
    ),
    "tls-wrong-purpose": (
        "The certificate of the peer at {where} is not a client's",
        "Make it one: sockstream certs client NAME",
    ),
    "tls-no-certificate": (
        "The peer at {where} has shown no certificate",
        "If it is a site, make it one: sockstream certs client NAME",
    ),
    "tls-revoked": (
        "The certificate of the peer at {where} is revoked",
        "If it was by mistake, renew it: sockstream certs renew NAME",
    ),
    "tls-certificate": (
        "The certificate of the peer at {where} is not accepted: {why}",
        "If it is a site, make it another: sockstream certs client NAME",
    ),
    "tls-not-tls": (
        "The peer at {where} does not speak TLS",
        "This port is for oplog_send alone; find out what connects here",
    ),
    "tls-version": (
        "The peer at {where} does not speak TLS 1.3",
        "This port is for oplog_send alone; find out what connects here",
    ),
}

HEARD_AT_CENTRAL: dict[str, Told] = {
    "tls-unknown-ca": (
        "The peer at {where} refuses our certificate: it trusts another authority",
        "Give the site our ca.crt",
    ),
    "tls-expired": (
        "The peer at {where} refuses our certificate: it has expired",
        f"Run: sockstream certs renew NAME; start oplog_receive again; {_CLOCKS}",
    ),
    "tls-wrong-purpose": (
        "The peer at {where} refuses our certificate: it is not a server's",
        "Make one: sockstream certs server HOST...",
    ),
    "tls-certificate": (
        "The peer at {where} refuses our certificate: {why}",
        "Is it for the host that the site has in --to? Make one: sockstream certs server HOST...",
    ),
    "tls-version": AT_CENTRAL["tls-version"],
}

AT_BOTH: dict[str, Told] = {
    "too-many-files": (
        "No more files or connections can be opened here: {why}",
        "Raise the limit (ulimit -n, or LimitNOFILE of the service)",
    ),
    "tls-failed": (
        "TLS with {where} failed: {why}",
        "If it goes on, read the log of the other end",
    ),
    "network": (
        "The connection with {where} failed: {why}",
        "If it goes on, check the network and the address",
    ),
}


def words_for(code: str, *, server: bool, heard: bool) -> Told:
    """What is said about `code` at central (`server`) or at a site, if `heard` by an alert."""
    own, alerts = (AT_CENTRAL, HEARD_AT_CENTRAL) if server else (AT_SITE, HEARD_AT_SITE)
    tables = (alerts, AT_BOTH) if heard else (own, AT_BOTH)
    found = next((table[code] for table in tables if code in table), None)
    return found or AT_BOTH["tls-failed" if code.startswith("tls-") else "network"]
