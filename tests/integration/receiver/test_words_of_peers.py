"""A site's words in central's log, status and tables: printable, cut, and few."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command

from sockstream.receiver.models import Offset
from sockstream.wire.errors import WireError
from sockstream.wire.messages import Bye, Error, pack
from sockstream.wire.records import INSERT, Layout
from tests.integration.receiver.central import Central
from tests.integration.receiver.site import Site, connected, slots
from tests.unit.trust import Trust

FORGED = "\r\n2026-01-01 00:00:00,000 INFO other/main: connected\x1b[2J\x1b]0;x\x07\u202e\u2028\x00"


def is_plain(text: str) -> bool:
    """Whether all of it can be shown, each line of ours by itself."""
    lines = text.split("\n")
    return all(line.isprintable() and not line.startswith("2026-01-01") for line in lines)


def ends(site: Site) -> WireError | None:
    site.fill()
    return site.wait_until_closed()


@pytest.mark.parametrize("code", ["x" + FORGED, "c" * 4_000, "digest-mismatch"])
def test_an_error_before_and_after_the_welcome(central: str, trust: Trust, code: str) -> None:
    with Central(central, trust) as running:
        for welcomed in (False, True):
            site = running.site(stream=f"s{welcomed:d}")
            site.connect() if welcomed else site.dial()
            error = Error(code, "w" + FORGED * 40, "m" * 4_000, 3, "l" * 4_000, FORGED, "person")
            site._outbound += site.session.data_to_send() + pack(error)
            ends(site)
        running.wait_for_line("gone: ")
    assert is_plain("\n".join(running.lines))
    assert max(map(len, running.lines)) < 4_000
    stopped = Offset.objects.using(central).get(stream="s1")
    assert stopped.state == "stopped"
    assert is_plain(stopped.error_code + stopped.error + stopped.error_model + stopped.error_key)
    assert is_plain(status(central))


@pytest.mark.parametrize(
    ("label", "key"),
    [("zoo.slot" + FORGED, "k"), ("zoo.slot", "k" + FORGED), ("z" * 255, "k" * 100_000)],
)
def test_a_label_and_a_key(central: str, trust: Trust, label: str, key: str) -> None:
    with Central(central, trust) as running, connected(running.site()) as site:
        site.oplog.add([(INSERT, Layout(label, ("id",), ("no_field",)), [key, "n"])])
        error = ends(site)
        assert error is not None
        assert error.code in {"model-not-allowed", "schema-mismatch"}
        assert error.seq == 1
        assert is_plain(error.model + error.key + str(error))
    assert is_plain("\n".join(running.lines))
    stopped = Offset.objects.using(central).get()
    assert (stopped.error_code, stopped.error_seq) == (error.code, 1)
    assert is_plain(stopped.error_model + stopped.error_key + stopped.error)
    assert is_plain(status(central))


def test_a_goodbye(central: str, trust: Trust) -> None:
    with Central(central, trust) as running, connected(running.site()) as site:
        site.oplog.add(slots(1))
        site.send_all()
        site._outbound = pack(Bye("b" + FORGED * 30, 1, 0))
        ends(site)
    assert running.said("the site said bye (b\\r\\n2026")
    assert is_plain("\n".join(running.lines))


def status(central: str) -> str:
    out = StringIO()
    call_command("oplog_status", database=central, stdout=out)
    return out.getvalue()
